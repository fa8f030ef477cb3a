"""Other class counts, on any dataset: a part of the training images that a dataset read is kept.

``per_class=N`` alone keeps N images of each class, or all of a class that has no more. An imbalance comes in a shape:
of class c the store keeps ``floor(n_max / r_c)`` images, where

- ``imbalance=step`` (Cao et al., LDAM, NeurIPS 2019; Thrampoulidis et al., Imbalance Trouble, NeurIPS 2022):
  r_c = ratio for the last ``minority`` share of the K classes (rounded, halves up), and 1 for the others;
- ``imbalance=exp`` (Cui et al., Class-Balanced Loss, CVPR 2019): r_c = ratio^(c / (K - 1)), c = 0..K-1.

n_max is the largest number for which no class lacks images, ``min over c of (images of c) * r_c``, which on a balanced
dataset is a class's count; per_class limits it. Classes keep their order; validation and test images are all kept.

Which images: of each class those whose ids have the smallest SHA-256, a random choice that is made once and for all.
It depends on the ids alone, so it is the same on every machine, in every run and in any order of the sources; and what
a larger ratio keeps of a class is a part of what a smaller one keeps, as long as n_max is the same.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np

from ncbench.contracts.dataset import Split, Thinning
from ncbench.contracts.errors import ConfigurationError
from ncbench.contracts.specs import Spec

RULE = 1  # raise it when other images are kept: stores made by an older rule are rebuilt
_EXACT = 1e-12  # relative; a quotient this close below a whole number is that number, whatever the platform's pow gives


def thinned(splits: Mapping[str, Split], spec: Spec, class_names: Sequence[str]) -> Mapping[str, Split]:
    """Return the splits as a store holds them: with the training images that a dataset's spec keeps."""
    thinning = Thinning.of(spec)
    return {**splits, "train": imbalanced(splits["train"], thinning, class_names)} if thinning else splits


def imbalanced(split: Split, params: Thinning, class_names: Sequence[str]) -> Split:
    """Keep the part of a training split that has the class counts asked for.

    Args:
        split: Sound training images: every class has one, and ids are unique.
        params: What to keep.
        class_names: K names.

    Returns:
        The images kept, in the order they had.

    Raises:
        ConfigurationError: As :func:`kept_counts`.
    """
    counts = np.bincount(split.target, minlength=len(class_names))
    kept = kept_counts(counts, params, class_names)
    ranks = np.array([hashlib.sha256(identifier.encode()).digest() for identifier in map(str, split.ids)], dtype="S32")
    order = np.lexsort((ranks, split.target))  # by class, then by digest
    starts = np.cumsum(counts) - counts
    chosen = [order[start : start + number] for start, number in zip(starts, kept, strict=True)]
    where = np.sort(np.concatenate(chosen))
    return Split(
        inputs=split.inputs[where] if isinstance(split.inputs, np.ndarray) else [split.inputs[i] for i in where],
        target=split.target[where],
        bias=None if split.bias is None else split.bias[where],
        ids=[split.ids[index] for index in where],
    )


def kept_counts(counts: np.ndarray, params: Thinning, class_names: Sequence[str]) -> np.ndarray:
    """Return how many images of each class are kept.

    Args:
        counts: (K,) images of each class, all positive.
        params: What to keep.
        class_names: K names, for the errors.

    Returns:
        (K,) int64, none above `counts`.

    Raises:
        ConfigurationError: A class would be left without images, or a step has no class on one of its sides.
    """
    number, ratio, per_class = len(counts), params.ratio, params.per_class
    if params.imbalance == "none":
        return np.asarray(np.minimum(counts, per_class or counts.max()), dtype=np.int64)
    if params.imbalance == "step":
        small = int(np.floor(params.minority * number + 0.5))
        if not 0 < small < number:
            raise ConfigurationError(
                f"minority={params.minority} makes {small} of {number} classes small: "
                "choose a share that leaves classes on both sides."
            )
        divisors = np.where(np.arange(number) < number - small, 1.0, ratio)
    else:
        divisors = ratio ** (np.arange(number) / max(1, number - 1))
    largest = _floor((counts * divisors).min())
    largest = np.minimum(largest, per_class or largest)
    kept = _floor(largest / divisors)
    if (kept == 0).any():
        first = int(np.flatnonzero(kept == 0)[0])
        raise ConfigurationError(
            f"ratio={ratio} leaves no training image of class {class_names[first]!r}: the largest class keeps "
            f"{int(largest)}, so the ratio can be at most {int(largest)}."
        )
    return np.asarray(kept, dtype=np.int64)


def _floor(values: np.ndarray) -> np.ndarray:
    return np.floor(values * (1 + _EXACT))
