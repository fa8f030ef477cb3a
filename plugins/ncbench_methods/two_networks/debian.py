"""DebiAN: a discoverer looks for what the classifier is unfair to, and the classifier makes up for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from ncbench import Batch, Method, Parameters, Published
from ncbench_methods.search_spaces import NO_DECAY
from ncbench_methods.two_networks.networks import make_network, probability_of_target

_EPSILON = 1e-6


class DebiANParameters(Parameters):
    """Parameters of :class:`DebiAN`."""

    penalty: float = Field(1.0, ge=0, description="weight of the penalty on groups of unequal size [lambda]")


class DebiAN(Method):
    """A discoverer and a classifier that are trained against each other (Li, Hoogs and Xu, ECCV 2022).

    The discoverer D splits each class into two groups, with probabilities D(x) and 1 - D(x) (its sigmoid for the
    class). With P1 and P0 the means of the classifier's p_y in a class, weighted by D and 1 - D, it minimises the sum
    over the classes in the batch of

        -log |P1 - P0| - lambda log(1 - |mean D - mean (1 - D)|),

    so that the groups are those the classifier treats most unequally, and neither is empty. The classifier's
    cross-entropy weighs 1 + D(x) where P1 is the lower one, 1 + (1 - D(x)) elsewhere; D = 1/2 gives 1.5 times erm's
    loss.

    The published code alternates steps of the two on batches of their own, each with the other in evaluation mode,
    where a batch without an image of some class has no defined loss. Here both take their step on the same batch, from
    one pass of each, and a class without images has no term.

    Supervision: none.
    """

    Parameters = DebiANParameters
    search_space: ClassVar = NO_DECAY
    published: ClassVar[Mapping[str, Published]] = {
        "bar": Published(
            source="Li, Hoogs and Xu (ECCV 2022), the published code",
            recipe={"epochs": 90, "batch_size": 256, "optimizer": "adam", "lr": 1e-4, "weight_decay": 0.0},
            backbone="resnet18:weights=imagenet",
        ),
        "bffhq": Published(
            source="Li, Hoogs and Xu (ECCV 2022), the published code",
            recipe={"epochs": 200, "batch_size": 256, "optimizer": "adam", "lr": 1e-4, "weight_decay": 0.0},
        ),
    }

    def build(self) -> None:
        """Create the classifier and the discoverer."""
        super().build()
        self.discoverer = make_network(self)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the classifier's weighted cross-entropy and the discoverer's loss, each of its own network alone."""
        logits, scores = self(batch.images), self.discoverer(batch.images)
        losses = F.cross_entropy(logits, batch.target, reduction="none")
        with torch.autocast(logits.device.type, enabled=False):
            p = probability_of_target(logits, batch.target)
            split = scores.to(p).gather(1, batch.target[:, None]).squeeze(1).sigmoid()  # (N,) D(x)
            inside, outside = means_by_class(split, p, batch.target, self.task.num_classes)  # (K,) P1 and P0
            member = F.one_hot(batch.target, self.task.num_classes).to(p)  # (N, K)
            size = member.sum(dim=0)
            lean = (member.T @ (2 * split - 1) / size.clamp_min(1)).abs()  # (K,) |mean D - mean (1 - D)|
            unfairness = -torch.log(_EPSILON + (inside - outside).abs())
            emptiness = -torch.log(_EPSILON + 1 - lean)
            own = split.detach()
            weight = 1 + torch.where((outside < inside).detach()[batch.target], 1 - own, own)
            discovery = torch.where(size > 0, unfairness + self.params.penalty * emptiness, 0).sum()
        return {"classifier": (weight * losses).mean(), "discoverer": discovery}


def means_by_class(split: Tensor, p: Tensor, target: Tensor, num_classes: int) -> tuple[Tensor, Tensor]:
    """Return each class's means of p weighted by the split and by its opposite: (K,) each, 0 for an absent class.

    Args:
        split: (N,) in [0, 1].
        p: (N,).
        target: (N,) int64.
        num_classes: K.
    """
    member = F.one_hot(target, num_classes).to(p).T  # (K, N)
    inside = member @ (split * p) / (member @ split + _EPSILON)
    outside = member @ ((1 - split) * p) / (member @ (1 - split) + _EPSILON)
    return inside, outside
