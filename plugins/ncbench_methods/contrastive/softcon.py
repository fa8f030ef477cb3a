"""Soft bias-contrastive loss: images of one class are drawn together, the more the less alike a biased network is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Self

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from ncbench import Batch, Method, SplitView, Stage
from ncbench_methods.contrastive.pairs import Contrastive, ContrastiveParameters, capped
from ncbench_methods.two_networks.networks import make_network

_REFERENCES = 1024
"""Images of a class to which each of its images is compared for the weights of the draws."""
_ROUNDING = 1e-6  # of a cosine in float32


class SoftConParameters(ContrastiveParameters):
    """Parameters of :class:`SoftCon`."""

    biased: str = Field("", description="spec of the network that captures the bias; empty for the run's own")
    bias_epochs: int = Field(5, ge=1, description="epochs for which it is trained first")


class SoftCon(Contrastive):
    """Minimise w CE + SupCon over pairs of one class with weight 1 - cos(g_i, g_j) (Hong and Yang, NeurIPS 2021).

    g are the features of a network that was trained first, by cross-entropy and so that it captures the bias, of the
    training images without augmentation; the two views of an image have the weight 0. An image is drawn the oftener the
    less it resembles its class: with the sum of 1 - cos(g_i, g_j) over 1,024 images j of its class, cut off at `ratio`
    times the smallest, and its cross-entropy is weighted by the inverse.

    The published network of the bias has 1 x 1 convolutions on coloured digits and small receptive fields on ImageNet,
    and is trained as long as the other; give one as `biased`. With the run's own architecture few epochs keep it at
    what is easy; five are this project's choice. See `bias_contrastive` for draws, and for what w does
    to the learning rate and the weight decay; VB-Mitigator weighs the cross-entropy with 1000. Rounding leaves the
    published code with weights of 1e-16 between the views of one image, which count where it is the only one of its
    class in a batch; here such an image has no pair.

    Supervision: none.
    """

    Parameters = SoftConParameters
    bias_features: Tensor
    search_space: ClassVar = {
        **Method.search_space,
        "method.ce_weight": (0.01, 0.1, 1.0),
        "method.bias_epochs": (1, 5, 20),
    }

    def build(self) -> None:
        """Create both networks, and room for the features of the biased one and for the weights of the draws."""
        super().build()
        self.biased = make_network(self, self.params.biased or None)
        dim = self.biased[1].in_features
        self.register_buffer("bias_features", torch.zeros(self.task.num_train, dim))  # (N, d)
        self.register_buffer("draw_weight", torch.ones(self.task.num_train))  # (N,)

    def stages(self, epochs: int) -> Sequence[Stage]:
        """Return the training of the biased network, and that of the other one."""
        return [Stage("bias", self.params.bias_epochs), Stage("train", epochs)]

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return the parameters of the network that the stage trains."""
        own = [*self.backbone.parameters(), *self.classifier.parameters()]
        return [{"params": list(self.biased.parameters()) if self.progress.stage == "bias" else own}]

    def train(self, mode: bool = True) -> Self:
        """Set the mode of everything but the biased network once it is trained."""
        super().train(mode)
        if self.progress.stage != "bias":
            self.biased.eval()
        return self

    @torch.no_grad()
    def start_stage(self, stage: Stage, train: SplitView, val: SplitView | None) -> None:
        """Keep the biased network's features, and set the weights of the draws."""
        if stage.name != "train":
            return
        for batch in train.batches():
            self.bias_features[batch.index] = self.biased[0](batch.images).to(self.bias_features)
        generator = self.task.generator("softcon")
        unit, target = F.normalize(self.bias_features, dim=1), train.target
        weight = torch.ones_like(self.draw_weight)
        for label in target.unique():
            of_class = (target == label).nonzero()[:, 0]
            drawn = torch.randperm(len(of_class), generator=generator)[:_REFERENCES].to(of_class.device)
            mean = unit[of_class[drawn]].mean(dim=0)  # of the cosines to it, the mean cosine
            weight[of_class] = (1 - unit[of_class] @ mean).clamp_min(0) * len(drawn)
        self.draw_weight = capped(weight, self.params.ratio)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the cross-entropy of the biased network first, then the terms of the other one."""
        if self.progress.stage == "bias":
            return {"bias": F.cross_entropy(self.biased(batch.images), batch.target)}
        unit = F.normalize(self.bias_features[batch.index], dim=1)
        with torch.autocast(unit.device.type, enabled=False):
            unlike = 1 - unit @ unit.T
        unlike = torch.where(unlike > _ROUNDING, unlike, 0.0)  # or an image would be a pair with its other view
        return self.contrasted(batch, unlike * (batch.target[:, None] == batch.target))
