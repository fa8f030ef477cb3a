"""Group distributionally robust optimisation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from ncbench import Batch, LogUniform, Method, Parameters, Published, SplitView
from ncbench_methods.balancing.cells import balanced_draws, cell_counts, cell_of
from ncbench_methods.published_recipes import RESNET50
from ncbench_methods.search_spaces import STRONG_DECAY


class GroupDROParameters(Parameters):
    """Parameters of :class:`GroupDRO`, called eta_q and C in the paper."""

    step_size: float = Field(0.01, gt=0, description="step size eta_q of the group weights' exponentiated ascent")
    adjustment: float = Field(0.0, ge=0, description="C of the group adjustment C / sqrt(n_g) (eq. 5)")
    sample: Literal["group", "image"] = Field(
        "group", description="draw groups uniformly, as algorithm 1 does, or visit each image once an epoch"
    )


class GroupDRO(Method):
    """Minimise sum_g q_g l_g, where the weights q follow the groups' losses (algorithm 1).

    With l_g the mean loss of the batch's images of group g = (y, a) and C / sqrt(n_g) its adjustment,

        q_g <- q_g exp(eta_q (l_g + C / sqrt(n_g))),   q <- q / sum(q),   loss = sum_g q_g (l_g + C / sqrt(n_g)).

    As in the published code the loss uses the weights after their update, and a group that is absent from the batch
    enters with l_g = 0. A group without any training image has weight zero throughout: it can neither be improved
    nor be allowed to take weight from the others. Images are drawn with replacement and groups equally often
    (algorithm 1, line 3), N images an epoch; `sample=image` visits each image once instead.

    A search tries step sizes from 0.001 to 0.1, as SubpopBench (Yang et al., ICML 2023) does.
    Supervision: the bias attribute of training images.
    """

    Parameters = GroupDROParameters
    consumes_groups = True
    weights: Tensor
    adjustment: Tensor
    alternative = "Use a method that needs none: lff or jtt."
    search_space: ClassVar = {**STRONG_DECAY, "method.step_size": LogUniform(1e-3, 1e-1)}
    published: ClassVar[Mapping[str, Published]] = {
        "waterbirds": Published(
            source="Sagawa et al. (ICLR 2020), section 3.2 and appendix C.2, strong l2 penalty",
            recipe={**RESNET50, "epochs": 300, "batch_size": 128, "lr": 1e-5, "weight_decay": 1.0},
            backbone="resnet50:weights=imagenet",
        ),
        "celeba": Published(
            source="Sagawa et al. (ICLR 2020), section 3.2 and appendix C.2, strong l2 penalty",
            recipe={**RESNET50, "epochs": 50, "batch_size": 128, "lr": 1e-5, "weight_decay": 0.1},
            backbone="resnet50:weights=imagenet",
        ),
    }

    def build(self) -> None:
        """Create the network and the group weights, uniform over the groups that exist."""
        super().build()
        counts = cell_counts(self.task, "group")  # (K * B,)
        exists = counts > 0
        adjustment = torch.where(exists, self.params.adjustment / counts.clamp_min(1).sqrt(), 0.0)
        self.register_buffer("weights", exists / exists.sum())  # (K * B,) q
        self.register_buffer("adjustment", adjustment)  # (K * B,)

    def order(self, train: SplitView, generator: torch.Generator) -> Tensor:
        """Return N images, drawn with replacement so that each group is equally likely."""
        if self.params.sample == "image":
            return super().order(train, generator)
        return balanced_draws(train, self.task, "group", generator)

    def loss(self, batch: Batch) -> Tensor:
        """Update the group weights by the batch and return the weighted loss."""
        losses = F.cross_entropy(self(batch.images), batch.target, reduction="none").to(self.weights)
        group = cell_of(batch, self.task, "group")
        # bincount would make every step wait for the device, to learn the size of its result
        count = torch.zeros_like(self.weights).index_add_(0, group, torch.ones_like(losses))
        group_loss = torch.zeros_like(self.weights).index_add(0, group, losses) / count.clamp_min(1)  # (K * B,)
        adjusted = group_loss + self.adjustment
        with torch.no_grad():
            self.weights *= torch.exp(self.params.step_size * adjusted)
            self.weights /= self.weights.sum()
        # Not a matrix product, which autocast would round to bfloat16.
        return (self.weights.clone() * adjusted).sum()
