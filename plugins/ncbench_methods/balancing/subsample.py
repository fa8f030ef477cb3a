"""Cross-entropy on as many images of every group, or of every class, as the smallest one has."""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from ncbench import Batch, Method, Parameters, SplitView, Supervision
from ncbench_methods.balancing.cells import By, cell_counts, cell_of, drawn_subset, supervision_by


class SubsampleParameters(Parameters):
    """Parameters of :class:`Subsample`."""

    by: By = Field("group", description="what is cut down to one size: groups (target, bias), or classes")
    redraw: bool = Field(False, description="whether each epoch draws its images anew")


class Subsample(Method):
    """Train on min_c n_c images of each cell c, drawn without replacement and kept for the whole run.

    SUBG (groups) and SUBY (classes) of Idrissi et al. (CLeaR 2022). Of cells, those without training images are passed
    over. An epoch is that much shorter. A search tries the paper's grid of learning rates, decays and batch sizes.

    Supervision: the bias attribute of training images; none with `by=class`.
    """

    Parameters = SubsampleParameters
    consumes_groups = True
    search_space: ClassVar = {
        "recipe.lr": (1e-5, 1e-4, 1e-3),
        "recipe.weight_decay": (1e-4, 1e-3, 1e-2, 1e-1, 1.0),
        "recipe.batch_size": (2, 4, 8, 16, 32, 64, 128),
    }
    alternative = "Run subsample:by=class, which needs none."

    @classmethod
    def supervision(cls, params: SubsampleParameters, declared: Supervision) -> Supervision:
        """Return what is declared, or nothing for classes."""
        return supervision_by(params.by, declared)

    def order(self, train: SplitView, generator: torch.Generator) -> Tensor:
        """Return as many images of every cell, in random order."""
        counts = cell_counts(self.task, self.params.by)
        sizes = counts[counts > 0].min().expand_as(counts)
        draws = generator if self.params.redraw else self.task.generator("subsample")
        images = drawn_subset(cell_of(train, self.task, self.params.by).cpu(), sizes, draws)
        return images[torch.randperm(len(images), generator=generator)]

    def loss(self, batch: Batch) -> Tensor:
        """Return the mean cross-entropy."""
        return F.cross_entropy(self(batch.images), batch.target)
