"""The contract of a backbone: images in, feature vectors out."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import nn

from ncbench.contracts.parameters import Parameters


class Backbone(nn.Module):
    """A feature extractor: (N, C, H, W) float images -> (N, feature_dim) penultimate features.

    Subclasses set `feature_dim` in their constructor and implement ``forward``.

    Args:
        image_shape: (C, H, W) of the images it will see.
        params: Validated parameters.
    """

    Parameters: ClassVar[type[Parameters]] = Parameters

    feature_dim: int

    def __init__(self, image_shape: tuple[int, int, int], params: Any) -> None:
        super().__init__()
        self.image_shape = image_shape
        self.params = params
