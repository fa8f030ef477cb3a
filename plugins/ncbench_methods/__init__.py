"""The built-in training methods, a package for each family."""

from __future__ import annotations

from collections.abc import Iterable

from ncbench import MethodCard, Supervision, hookimpl
from ncbench_methods import (
    augmentation,
    balancing,
    contrastive,
    frames,
    hierarchy,
    imbalance,
    invariance,
    last_layer,
    two_networks,
)

_ERM = MethodCard(
    name="erm",
    summary="Cross-entropy on a linear classifier: the baseline",
    factory="ncbench_methods.erm:ERM",
    citation="Vapnik. Principles of Risk Minimization for Learning Theory. NeurIPS 1991. "
    "https://proceedings.neurips.cc/paper/1991/hash/ff4d5fbbafdf976cfdc032e3bde78de5-Abstract.html",
    supervision=Supervision(),
    family="baseline",
)


@hookimpl
def ncbench_methods() -> Iterable[MethodCard]:
    """Return the cards of the built-in methods."""
    families = (
        balancing,
        imbalance,
        frames,
        invariance,
        two_networks,
        last_layer,
        contrastive,
        augmentation,
        hierarchy,
    )
    return [_ERM, *(card for family in families for card in family.CARDS)]
