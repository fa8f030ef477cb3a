"""LDAM: rare classes get a larger margin; and its deferred re-weighting."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from ncbench import Batch, LogUniform, Method, Parameters, Stage
from ncbench_methods.imbalance.class_counts import effective_number_weights, positive_counts

DEFERRED = "reweighted"
"""Name of the stage in which classes are weighted."""


class LDAMParameters(Parameters):
    """Parameters of :class:`LDAM`."""

    max_margin: float = Field(0.5, ge=0, description="margin of the rarest class; the constant C follows from it")
    scale: float = Field(30.0, gt=0, description="s, the factor of the cosines")
    deferred: float = Field(
        0.0, ge=0, lt=1, description="share of the epochs, the last ones, that weight classes (DRW); published: 0.2"
    )
    beta: float = Field(0.9999, ge=0, lt=1, description="of the effective number that DRW weights by")
    deferred_lr_scale: float = Field(0.01, gt=0, description="what DRW multiplies the learning rate by, as published")


class LDAM(Method):
    """Label-distribution-aware margins (Cao et al., NeurIPS 2019).

    The logits are s cos(w_c, h), of normalised features and weights without bias, and the loss is the cross-entropy
    after s m_y was taken from that of the image's class:

        m_c = C / n_c^(1/4),   C such that the rarest class has the margin `max_margin`.

    n_c are the training images of class c. Predictions use the logits without margin.

    `deferred` > 0 adds DRW (algorithm 1): in that share of the epochs, the last ones, class c weighs
    (1 - beta) / (1 - beta^n_c), the weights adding to K, and the learning rate is multiplied by 0.01: the paper does
    both at epoch 160 of 200. The optimizer and the recipe's schedule go on. As in the published code the batch's
    weighted losses are divided by the sum of their weights.

    The weights start at length 1, as in the published code: what they are normalised to does not change the logits, but
    how fast they turn. A class without training images is taken to have one for its margin. `features` are the
    normalised h.
    Supervision: none.

    A search tries margins from 0.1 to 0.79 and the scales 10 and 30, as SubpopBench (Yang et al., ICML 2023) does.
    """

    Parameters = LDAMParameters
    search_space: ClassVar = {
        **Method.search_space,
        "method.max_margin": LogUniform(0.1, 0.79),
        "method.scale": (10.0, 30.0),
    }
    margin: Tensor
    class_weight: Tensor

    def build(self) -> None:
        """Create the network, and the margin and the later weight of each class."""
        self.backbone = self.make_backbone()
        self.classifier = nn.Linear(self.backbone.feature_dim, self.task.num_classes, bias=False)
        with torch.no_grad():
            self.classifier.weight.copy_(F.normalize(self.classifier.weight, dim=1))
        fourth_root = positive_counts(self.task) ** 0.25
        self.register_buffer("margin", (self.params.max_margin * fourth_root.min() / fourth_root).float())  # (K,) m
        self.register_buffer("class_weight", effective_number_weights(self.task, self.params.beta).float())  # (K,)

    def stages(self, epochs: int) -> Sequence[Stage]:
        """Return the training, its last part as a stage of its own where that is re-weighted."""
        deferred = min(round(epochs * self.params.deferred), epochs - 1)
        training = Stage("train", epochs - deferred)
        return [training, Stage(DEFERRED, deferred, continues=True)] if deferred > 0 else [training]

    @property
    def reweighted(self) -> bool:
        """Whether classes are weighted by now."""
        return self.progress.stage == DEFERRED

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return all parameters, at a smaller learning rate once classes are weighted."""
        scale = self.params.deferred_lr_scale if self.reweighted else 1.0
        return [{"params": list(self.parameters()), "lr_scale": scale}]

    def loss(self, batch: Batch) -> Tensor:
        """Return the mean cross-entropy with margins, weighted by class."""
        logits = self(batch.images)
        target = batch.target[:, None]
        margin = self.params.scale * self.margin[target]  # (N, 1)
        # under autocast the logits are in half precision, and scatter_add needs one type
        logits = logits.to(margin.dtype).scatter_add(1, target, -margin)
        return F.cross_entropy(logits, batch.target, weight=self.class_weight if self.reweighted else None)

    def features(self, images: Tensor) -> Tensor:
        """Return the normalised features: (N, C, H, W) -> (N, d)."""
        return F.normalize(self.backbone(images), dim=1)

    def classify(self, features: Tensor) -> Tensor:
        """Return s cos(w_c, h): (N, d) -> (N, K)."""
        return F.linear(features, self.classifier_parameters()[0])

    def classifier_parameters(self) -> tuple[Tensor, None]:
        """Return s w_c / |w_c|; there is no bias."""
        return self.params.scale * F.normalize(self.classifier.weight, dim=1), None
