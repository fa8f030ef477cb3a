"""A head between the backbone and a frozen frame, which may turn features to where the frame wants them."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from ncbench import Method
from ncbench_methods.feature_norm import FeatureNorm


class TransformedFeatures(Method):
    """A method whose features are those of a backbone after a reduction and a transformation head.

    Head: a linear reduction, BatchNorm, and two residual blocks x + g(x) with g twice Linear-BatchNorm-PReLU, without
    biases (Liang and Davis, ICCV 2023, section 3.3). Its parameters have a `backbone_lr_scale`, of backbone and
    reduction, and a `head_lr_scale`. A batch of one image is normalised by BatchNorm's running statistics.
    """

    def build_head(self, width: int) -> None:
        """Create the backbone and the head, whose output has `width` features."""
        self.backbone = self.make_backbone()
        self.reduction = nn.Linear(self.backbone.feature_dim, width, bias=False)
        self.head = nn.Sequential(FeatureNorm(width), _ResidualBlock(width), _ResidualBlock(width))

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return the backbone and the reduction, at a smaller learning rate, and the head."""
        slow = [*self.backbone.parameters(), *self.reduction.parameters()]
        return [
            {"params": [p for p in slow if p.requires_grad], "lr_scale": self.params.backbone_lr_scale},
            {"params": list(self.head.parameters()), "lr_scale": self.params.head_lr_scale},
        ]

    def features(self, images: Tensor) -> Tensor:
        """Return the head's output: (N, C, H, W) -> (N, width)."""
        h: Tensor = self.head(self.reduction(self.backbone(images)))
        return h


class _ResidualBlock(nn.Module):
    """x + g(x), g twice Linear-BatchNorm-PReLU with a slope for each feature: (N, dim) -> (N, dim)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            *(nn.Linear(dim, dim, bias=False), FeatureNorm(dim), nn.PReLU(dim)),
            *(nn.Linear(dim, dim, bias=False), FeatureNorm(dim), nn.PReLU(dim)),
        )

    def forward(self, x: Tensor) -> Tensor:
        added: Tensor = self.residual(x)
        return x + added
