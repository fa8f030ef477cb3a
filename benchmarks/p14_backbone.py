"""For P14: ResNet-20 with group normalisation, for ``ncbench run --plugin``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import nn

from ncbench import BackboneCard, hookimpl
from ncbench_backbones.resnet20 import ResNet20, ResNet20Parameters

_CHANNELS_A_GROUP = 8


class ResNet20Groups(ResNet20):
    """ResNet-20 with a GroupNorm in the place of every BatchNorm."""

    Parameters = ResNet20Parameters

    def __init__(self, image_shape: tuple[int, int, int], params: Any) -> None:
        super().__init__(image_shape, params)
        for module in [*self.modules()]:
            for name, child in module.named_children():
                if isinstance(child, nn.BatchNorm2d):
                    groups = child.num_features // _CHANNELS_A_GROUP
                    setattr(module, name, nn.GroupNorm(groups, child.num_features))


@hookimpl
def ncbench_backbones() -> Iterable[BackboneCard]:
    """Return the card of the one network."""
    summary = "ResNet-20 with group normalisation"
    return [BackboneCard(name="resnet20_groups", summary=summary, factory=f"{__name__}:ResNet20Groups")]
