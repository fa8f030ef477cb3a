"""The confidence penalty as a training method for ncbench."""

from __future__ import annotations

from collections.abc import Iterable

from ncbench import MethodCard, Supervision, hookimpl


@hookimpl
def ncbench_methods() -> Iterable[MethodCard]:
    """Return the card of the one method."""
    return [
        MethodCard(
            name="confidence_penalty",
            summary="Cross-entropy minus the entropy of the predictions, so that certainty has its price",
            factory="ncbench_confidence_penalty.method:ConfidencePenalty",
            citation="Pereyra, Tucker, Chorowski, Kaiser, Hinton. Regularizing Neural Networks by Penalizing Confident "
            "Output Distributions. ICLR 2017 workshop. https://arxiv.org/abs/1701.06548",
            supervision=Supervision(),
        )
    ]
