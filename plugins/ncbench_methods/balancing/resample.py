"""Cross-entropy on images drawn so that every group, or every class, is seen equally often."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from ncbench import Batch, Method, Parameters, SplitView, Supervision
from ncbench_methods.balancing.cells import By, balanced_draws, supervision_by


class ResampleParameters(Parameters):
    """Parameters of :class:`Resample`."""

    by: By = Field("group", description="what is seen equally often: groups (target, bias), or classes")


class Resample(Method):
    """Train on N images an epoch, drawn with replacement with probability 1 / (C n_c) for an image of cell c.

    C is the number of cells that have training images and n_c how many this one has: RWG (groups) and RWY (classes)
    of Idrissi et al. (CLeaR 2022). The expected loss is that of `reweight`; its variance is not.

    Supervision: the bias attribute of training images; none with `by=class`.
    """

    Parameters = ResampleParameters
    consumes_groups = True
    alternative = "Run resample:by=class, which needs none."

    @classmethod
    def supervision(cls, params: ResampleParameters, declared: Supervision) -> Supervision:
        """Return what is declared, or nothing for classes."""
        return supervision_by(params.by, declared)

    def order(self, train: SplitView, generator: torch.Generator) -> Tensor:
        """Return N images, every cell equally likely."""
        return balanced_draws(train, self.task, self.params.by, generator)

    def loss(self, batch: Batch) -> Tensor:
        """Return the mean cross-entropy."""
        return F.cross_entropy(self(batch.images), batch.target)
