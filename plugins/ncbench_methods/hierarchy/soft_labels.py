"""Soft labels: classes near the true one in the hierarchy get a share of its probability."""

from __future__ import annotations

from typing import ClassVar

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from ncbench import Batch, Method, Parameters
from ncbench_methods.hierarchy.levels import Levels


class SoftLabelsParameters(Parameters):
    """Parameters of :class:`SoftLabels`."""

    beta: float = Field(
        10.0, gt=0, description="how fast a class's share of the label falls with its distance; large is one-hot"
    )


class SoftLabels(Method):
    """Cross-entropy against labels softened by the hierarchy (Bertinetto et al., CVPR 2020, section 3.2, eq. 6).

    With D(k, y) the height of the lowest common ancestor of two classes, the label of class y is

        q_k = exp(-beta D(k, y) / D_max) / sum_j exp(-beta D(j, y) / D_max),

    and the loss -sum_k q_k log p_k, averaged over images; the published code averages over classes as well, which
    divides it by their number. With beta towards infinity it is cross-entropy; in a flat tree it is label smoothing.
    Published are curves over beta = 4, 5, 10, 15, 20 and 30, and no value above the others; a search tries these.

    Supervision: the class hierarchy.
    """

    Parameters = SoftLabelsParameters
    search_space: ClassVar = {**Method.search_space, "method.beta": (4, 5, 10, 15, 20, 30)}
    alternative = "Use erm, which needs none."

    def build(self) -> None:
        """Create the network, and the hierarchy as tensors."""
        super().build()
        self.levels = Levels(self.task.hierarchy)

    def loss(self, batch: Batch) -> Tensor:
        """Return the mean cross-entropy against the soft labels."""
        log_p = F.log_softmax(self(batch.images).to(self.levels.height), dim=1)
        distance = self.levels.distances(batch.target)  # (N, K)
        label = (-self.params.beta * distance / self.levels.height.max()).softmax(dim=1)
        return -(label * log_p).sum(dim=1).mean()
