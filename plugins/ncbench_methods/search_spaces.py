"""What a search tries of the recipe, where published settings lie outside the space of most methods.

That one, :attr:`ncbench.Method.search_space`, is SubpopBench's (Yang et al., ICML 2023): a search over a method could
not find a learning rate or a weight decay that its authors took.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from ncbench import LogUniform, Method

LARGE_STEPS: Mapping[str, Any] = MappingProxyType({**Method.search_space, "recipe.lr": LogUniform(1e-4, 0.3)})
"""Up to learning rates of networks that start from random weights, and of a head on one that learns at a tenth."""

STRONG_DECAY: Mapping[str, Any] = MappingProxyType(
    {**Method.search_space, "recipe.lr": LogUniform(1e-5, 1e-2), "recipe.weight_decay": LogUniform(1e-6, 1.0)}
)
"""As far as Sagawa et al. (ICLR 2020) and the grid of Idrissi et al. (CLeaR 2022) go, lr 1e-5 and weight decay 1."""

NO_DECAY: Mapping[str, Any] = MappingProxyType(
    {**Method.search_space, "recipe.weight_decay": (0.0, 1e-6, 1e-5, 1e-4, 1e-3)}
)
"""With no weight decay among its values, as lff (Nam et al., NeurIPS 2020) and those that go on from it have it."""
