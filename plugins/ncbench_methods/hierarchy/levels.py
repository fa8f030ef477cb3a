"""A class hierarchy as tensors, level by level, so that no loss needs a matrix of all pairs of classes."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ncbench.geometry import Hierarchy


class Levels(nn.Module):
    """The ancestors of every class, and their heights; not part of a state, since they follow from the hierarchy.

    A class that ends above a level stands for itself there.

    Attributes:
        ancestor: (L + 1, K) int64, the node of each class at the depths 0, the root, to L.
        height: (L + 1, K) floating, its height.
        num_nodes: Number of nodes, leaves and root included.
    """

    ancestor: Tensor
    height: Tensor

    def __init__(self, hierarchy: Hierarchy) -> None:
        super().__init__()
        self.num_nodes = hierarchy.num_nodes
        ancestor = torch.stack([hierarchy.level(depth) for depth in range(max(hierarchy.depths) + 1)])
        self.register_buffer("ancestor", ancestor, persistent=False)
        self.register_buffer("height", torch.tensor(hierarchy.heights)[ancestor], persistent=False)

    def shared(self, depth: int, target: Tensor) -> Tensor:
        """Return which classes have the ancestor of each target at a depth: (N,) int64 -> (N, K) bool."""
        of_class = self.ancestor[depth]
        return of_class == of_class[target][:, None]

    def distances(self, target: Tensor) -> Tensor:
        """Return D(k, y), the height of the lowest common ancestor of each class k and y: (N,) int64 -> (N, K)."""
        distance = self.height[0].expand(len(target), -1)
        for depth in range(1, len(self.ancestor)):  # two classes that have parted do not meet again further down
            distance = torch.where(self.shared(depth, target), self.height[depth][target][:, None], distance)
        return distance
