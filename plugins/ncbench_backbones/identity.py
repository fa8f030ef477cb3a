"""No network: inputs are the features."""

from __future__ import annotations

from math import prod
from typing import Any

from torch import Tensor

from ncbench import Backbone


class Identity(Backbone):
    """Feature vectors as they are, or the pixels of an image in one row: with a linear classifier, a linear model."""

    takes_vectors = True

    def __init__(self, input_shape: tuple[int, ...], params: Any) -> None:
        super().__init__(input_shape, params)
        self.feature_dim = prod(input_shape)

    def forward(self, images: Tensor) -> Tensor:
        """Return the features: (N, C, H, W) or (N, D) -> (N, feature_dim)."""
        return images.flatten(1)
