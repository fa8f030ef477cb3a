"""Cross-entropy on images drawn so that every group, or every class, is seen equally often."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from ncbench import Batch, Method, Parameters, SplitView, Supervision
from ncbench_methods.balancing.cells import By, cell_of, supervision_by, weighted_draws


class ResampleParameters(Parameters):
    """Parameters of :class:`Resample`."""

    by: By = Field("group", description="what is seen equally often: groups (target, bias), or classes")
    power: float = Field(1.0, ge=0, le=4, description="of the inverse counts; 0 draws every image as often")
    equal_classes: bool = Field(False, description="whether all classes are seen equally often, whatever their groups")


class Resample(Method):
    """Train on N images an epoch, drawn with replacement with probability 1 / (C n_c) for an image of cell c.

    C is the number of cells that have training images and n_c how many this one has: RWG (groups) and RWY (classes)
    of Idrissi et al. (CLeaR 2022). The expected loss is that of `reweight`; its variance is not.

    With another `power` the probability goes with 1 / n_c^power. With `equal_classes` those of each class are scaled to
    1 / K, as in SPARE (Yang et al., AISTATS 2024) for the groups of `spare`: 0 is then by class, and 1 each group of a
    class equally often, where a class with fewer groups than another has each of them drawn the oftener.

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
        """Return N images, drawn with replacement."""
        cell = cell_of(train, self.task, self.params.by).cpu()
        of_class = train.target.cpu() if self.params.equal_classes else None
        return weighted_draws(cell, generator, self.params.power, of_class)

    def loss(self, batch: Batch) -> Tensor:
        """Return the mean cross-entropy."""
        return F.cross_entropy(self(batch.images), batch.target)
