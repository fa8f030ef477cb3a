"""The configuration to which a method has frozen its classifier, as the ideal of its class means."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ncbench.features.class_vectors import ClassVectors

if TYPE_CHECKING:
    import torch

_SAME = 0.01  # distance of Gram matrices below which a frame, rounded to float32, is the simplex ETF or SELI


def frozen_frame(vectors: ClassVectors) -> torch.Tensor | None:
    """Return what the centred class means are a multiple of once features have collapsed onto the classifier's rows.

    Args:
        vectors: Of a method that has frozen its classifier.

    Returns:
        (D, d) the rows of the classes drawn, less the mean of these; None if there is no linear classifier, or if it is
        the simplex ETF or SELI, of which the class means' ideals are known.
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


def with_article(frame: str) -> str:
    """Return a frame's name in the middle of a sentence: names in capitals alone, such as SELI, take no article."""
    return frame if frame.isupper() else f"the {frame}"
