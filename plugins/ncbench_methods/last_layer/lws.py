"""Learnable weight scaling: one number for each class of an erm, learned on balanced images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ncbench import Batch, Method, SplitView, Stage
from ncbench_methods.balancing.cells import balanced_draws
from ncbench_methods.last_layer.fixed_features import LastLayer


class LWS(LastLayer):
    """Learn a scale f_k for each class of an erm: logits f_k (w_k . h + b_k) (Kang et al., ICLR 2020, section 4.3).

    Backbone and classifier are an erm's and frozen; the scales begin at 1, where the logits are the erm's, and the
    recipe trains them by cross-entropy on images drawn so that every class is seen equally often. The paper's formula
    scales w_k alone; the bias is scaled too, as in the published code.

    Supervision: none.
    """

    search_space: ClassVar = Method.search_space

    def build(self) -> None:
        """Create the network and the scales."""
        super().build()
        self.classifier.requires_grad_(False)
        self.scale = nn.Parameter(torch.ones(self.task.num_classes))

    def stages(self, epochs: int) -> Sequence[Stage]:
        """Return the training of the scales."""
        return [Stage("scales", epochs)]

    def start_from(self, base: Method) -> None:
        """Take over the backbone and the classifier."""
        super().start_from(base)
        self.classifier.load_state_dict(base.classifier.state_dict())

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return the scales."""
        return [{"params": [self.scale]}]

    def order(self, train: SplitView, generator: torch.Generator) -> Tensor:
        """Return N images, every class equally likely."""
        return balanced_draws(train, self.task, "class", generator)

    def loss(self, batch: Batch) -> Tensor:
        """Return the mean cross-entropy."""
        with torch.no_grad(), torch.autocast(batch.images.device.type, enabled=False):
            features = self.features(batch.images)
        return F.cross_entropy(self.classify(features), batch.target)

    def classify(self, features: Tensor) -> Tensor:
        """Return the scaled logits: (N, d) -> (N, K)."""
        return self.scale * super().classify(features)

    def classifier_parameters(self) -> tuple[Tensor, Tensor]:
        """Return the scaled weight and bias."""
        return self.scale[:, None] * self.classifier.weight, self.scale * self.classifier.bias
