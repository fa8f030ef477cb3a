"""Spectral decoupling as a training method for ncbench."""

from __future__ import annotations

from collections.abc import Iterable

from ncbench import MethodCard, Supervision, hookimpl


@hookimpl
def ncbench_methods() -> Iterable[MethodCard]:
    """Return the card of the one method."""
    return [
        MethodCard(
            name="spectral_decoupling",
            summary="Cross-entropy with an L2 penalty on the logits instead of the weights",
            factory="ncbench_spectral_decoupling.method:SpectralDecoupling",
            citation="Pezeshki, Kaba, Bengio, Courville, Precup, Lajoie. Gradient Starvation: A Learning Proclivity "
            "in Neural Networks. NeurIPS 2021.",
            supervision=Supervision(),
        )
    ]
