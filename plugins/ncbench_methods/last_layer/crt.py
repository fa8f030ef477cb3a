"""Classifier retraining: the features of an erm, and a classifier trained anew on balanced images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from ncbench import Batch, Method, Parameters, SplitView, Stage, Supervision
from ncbench_methods.balancing.cells import By, balanced_draws, cell_of, cell_weights, supervision_by
from ncbench_methods.last_layer.fixed_features import LastLayer


class CRTParameters(Parameters):
    """Parameters of :class:`CRT`."""

    balance: Literal["sample", "weight", "none"] = Field(
        "sample", description="draw images so that cells are seen equally often, weight the loss instead, or neither"
    )
    by: By = Field("class", description="the cells that are balanced: groups (target, bias), or classes")


class CRT(LastLayer):
    """Keep the backbone of an erm and train a new classifier with balanced cells (Kang et al., ICLR 2020).

    Stage 2 of decoupled training: the backbone is frozen and in evaluation mode, BatchNorm's statistics with it, and
    the recipe trains a classifier that is drawn anew by cross-entropy. `balance=sample` draws as `resample` does, as
    published, `balance=weight` weights as `reweight` does, and `none` does neither. Images are augmented as the recipe
    says. Every seed builds on its own erm; SubpopBench's results, balanced over groups where these are known, all start
    from seed 0's.

    Supervision: none; the bias attribute of training images with `by=group`, unless nothing is balanced.
    """

    Parameters = CRTParameters
    search_space: ClassVar = Method.search_space
    alternative = "Run crt:by=class, which needs none."
    cell_weight: Tensor

    @classmethod
    def supervision(cls, params: CRTParameters, declared: Supervision) -> Supervision:
        """Return what is declared, or nothing where no groups are balanced."""
        return Supervision() if params.balance == "none" else supervision_by(params.by, declared)

    def build(self) -> None:
        """Create the network and the weight of each cell."""
        super().build()
        if self.params.balance == "weight":
            self.register_buffer("cell_weight", cell_weights(self.task, self.params.by))  # (C,)

    def stages(self, epochs: int) -> Sequence[Stage]:
        """Return the training of the classifier."""
        return [Stage("classifier", epochs)]

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return the classifier's parameters."""
        return [{"params": list(self.classifier.parameters())}]

    def order(self, train: SplitView, generator: torch.Generator) -> Tensor:
        """Return N images, every cell equally likely if they are drawn so."""
        if self.params.balance != "sample":
            return torch.randperm(len(train), generator=generator)
        return balanced_draws(train, self.task, self.params.by, generator)

    def loss(self, batch: Batch) -> Tensor:
        """Return the mean cross-entropy, weighted if it is to be."""
        with torch.no_grad(), torch.autocast(batch.images.device.type, enabled=False):
            features = self.features(batch.images)
        losses = F.cross_entropy(self.classify(features), batch.target, reduction="none")
        if self.params.balance == "weight":
            losses = self.cell_weight[cell_of(batch, self.task, self.params.by)] * losses
        return losses.mean()
