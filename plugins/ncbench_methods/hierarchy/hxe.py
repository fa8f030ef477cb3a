"""Hierarchical cross-entropy: the log-likelihood of every step from the root down to the class."""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from ncbench import Batch, Method, Parameters
from ncbench_methods.hierarchy.levels import Levels


class HXEParameters(Parameters):
    """Parameters of :class:`HXE`."""

    alpha: float = Field(
        0.1, ge=0, description="how fast the weight of a step falls with its depth; large attends to the coarse ones"
    )


class HXE(Method):
    """Hierarchical cross-entropy (Bertinetto et al., CVPR 2020, section 3.1, eq. 4 and 5).

    With p(v) the sum of the softmax over the classes below node v, and c_1, ..., c_D the nodes from just below the root
    to the class y,

        loss = -sum_l lambda_l log p(c_l) / p(c_{l-1}),    lambda_l = exp(-alpha l) / sum_v exp(-alpha depth of v).

    As in the published code, depth is counted from the root (the paper's height counts from the class), and the
    weights are normalised over all nodes of the tree, the root included: with alpha = 0 it is the cross-entropy
    divided by their number. SGD takes such a factor as one on the learning rate and, as weight decay is not divided,
    the number as one on the weight decay. All of it is computed by log-sum-exp
    over classes; the published code takes logarithms of sums, and cannot take a batch of one image.

    Published are curves over alpha = 0.1 to 0.6, and no value above the others; a search tries these.
    Supervision: the class hierarchy.
    """

    Parameters = HXEParameters
    search_space: ClassVar = {**Method.search_space, "method.alpha": (0.1, 0.2, 0.3, 0.4, 0.5, 0.6)}
    alternative = "Use erm, which needs none."
    step_weight: Tensor

    def build(self) -> None:
        """Create the network, the hierarchy as tensors, and the weight of a step down to each depth."""
        super().build()
        self.levels = Levels(self.task.hierarchy)
        depth = torch.tensor(self.task.hierarchy.depths, dtype=torch.float64)
        total = torch.exp(-self.params.alpha * depth).sum()
        weight = torch.exp(-self.params.alpha * torch.arange(len(self.levels.ancestor))) / total
        self.register_buffer("step_weight", weight.float(), persistent=False)  # (L + 1,)

    def loss(self, batch: Batch) -> Tensor:
        """Return the mean weighted log-likelihood of the steps."""
        logits = self(batch.images).to(self.step_weight)
        above = logits.logsumexp(dim=1)  # (N,) log of the softmax's sum below the root, but for a constant
        loss = torch.zeros_like(above)
        for depth in range(1, len(self.levels.ancestor)):  # a class that ends above has no step here: 0
            below = logits.masked_fill(~self.levels.shared(depth, batch.target), -torch.inf).logsumexp(dim=1)
            loss = loss + self.step_weight[depth] * (above - below)
            above = below
        return loss.mean()
