"""The ideals that a picture shows beside what was measured, where the simplex ETF is not all there is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from ncbench.features.class_vectors import ClassVectors

_SAME = 0.01  # distance of Gram matrices below which a frame, rounded to float32, is the simplex ETF or SELI


def nearly_balanced(counts: Sequence[int]) -> bool:
    """Whether no count is more than a tenth above another: SELI then looks like the simplex ETF (2 % off, at most)."""
    return not counts or 10 * max(counts) <= 11 * min(counts)


def frozen_frame(vectors: ClassVectors) -> torch.Tensor | None:
    """Return what the centred class means are a multiple of once features have collapsed onto the classifier's rows.

    Args:
        vectors: Of a method that has frozen its classifier.

    Returns:
        (D, d) the rows of the classes drawn, less the mean of these; None if there is no linear classifier, or if it is
        the simplex ETF or SELI, which are drawn anyway.
    """
    from ncbench.collapse import gram_distance
    from ncbench.collapse.gram import seli_gram, simplex_gram

    rows = vectors.weight
    if rows is None:
        return None
    gram = rows @ rows.T
    known = (simplex_gram(len(vectors.counts), gram.device), seli_gram(vectors.counts, 0.5))
    if any(gram_distance(gram, ideal.of(vectors.drawn)) < _SAME for ideal in known):
        return None
    return rows - rows.mean(0)
