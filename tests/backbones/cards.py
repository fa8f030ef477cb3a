"""The built-in backbones by name, built from a seed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
import torch

import ncbench_backbones
from ncbench import Backbone

CARDS = {card.name: card for card in ncbench_backbones.ncbench_backbones()}
MODULES = {name: card.factory.partition(":")[0].rpartition(".")[2] for name, card in CARDS.items()}
TORCHVISION = [name for name, module in MODULES.items() if module.startswith("torchvision_")]
# Of networks that differ in their depth alone, the least deep.
ONE_OF_EACH = list({MODULES[name]: name for name in reversed(CARDS)}.values())


def among_slow(names: Iterable[str]) -> list[Any]:
    """Return parameters of which those that differ from another in their depth alone are left to the slow tests."""
    return [name if name in ONE_OF_EACH else pytest.param(name, marks=pytest.mark.slow) for name in names]


def build(name: str, image_shape: tuple[int, int, int], seed: int = 0, **values: object) -> Backbone:
    factory = CARDS[name].load()
    torch.manual_seed(seed)
    return factory(image_shape, factory.Parameters.build(values, owner=name))


def build_shapes(name: str, image_shape: tuple[int, int, int], **values: object) -> Backbone:
    """Build a backbone whose tensors have shapes but no values, in no time."""
    with torch.device("meta"):
        return build(name, image_shape, **values)


def trainable(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)
