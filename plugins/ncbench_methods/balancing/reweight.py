"""Cross-entropy with every group, or every class, at the same total weight."""

from __future__ import annotations

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from ncbench import Batch, Method, Parameters, Supervision
from ncbench_methods.balancing.cells import By, cell_of, cell_weights, supervision_by


class ReweightParameters(Parameters):
    """Parameters of :class:`Reweight`."""

    by: By = Field("group", description="what weighs the same: groups (target, bias), or classes")


class Reweight(Method):
    """Minimise the mean of w_c l over the batch's images, w_c = N / (C n_c) for an image of cell c.

    C is the number of cells that have training images and n_c how many this one has, so that every cell contributes
    the same in expectation and the weights' mean over the training images is 1: the learning rate keeps its meaning.
    The weights are those of the training set, not of the batch. As RWG and RWY in Idrissi et al. (CLeaR 2022), who
    draw instead of weighting: that is `resample`.

    Supervision: the bias attribute of training images; none with `by=class`.
    """

    Parameters = ReweightParameters
    consumes_groups = True
    alternative = "Run reweight:by=class, which needs none."
    cell_weight: Tensor

    @classmethod
    def supervision(cls, params: ReweightParameters, declared: Supervision) -> Supervision:
        """Return what is declared, or nothing for classes."""
        return supervision_by(params.by, declared)

    def build(self) -> None:
        """Create the network and the weight of each cell."""
        super().build()
        self.register_buffer("cell_weight", cell_weights(self.task, self.params.by))  # (C,)

    def loss(self, batch: Batch) -> Tensor:
        """Return the mean weighted cross-entropy."""
        weight = self.cell_weight[cell_of(batch, self.task, self.params.by)]
        return (weight * F.cross_entropy(self(batch.images), batch.target, reduction="none")).mean()
