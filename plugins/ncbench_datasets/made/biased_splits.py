"""Which image gets which bias value, and which are set apart for validation: both deterministic, in dataset order."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ncbench import Split


def assign_bias(classes: np.ndarray, aligned: float, number: int) -> np.ndarray:
    """Give each image a bias value, as Nam et al. do (Learning from Failure, NeurIPS 2020, published code).

    Args:
        classes: (N,) int64 classes, 0..K-1.
        aligned: Share of each class's images that get the value of the class's own index; the other values share the
            rest evenly.
        number: K, which is also the number of bias values.

    Returns:
        (N,) int64 bias values 0..K-1. Image i of a class's n images (from 0, in dataset order) has the first value b
        with ``round(n * (share_0 + ... + share_b)) > i``, halves rounded to even.
    """
    shares = np.full((number, number), (1 - aligned) / (number - 1))  # (class, bias)
    np.fill_diagonal(shares, aligned)
    # The sums end at 1 but for rounding errors, which must not leave the last image without a value.
    cumulative = np.cumsum(shares, axis=1)
    cumulative[:, -1] = 1
    bias = np.empty(len(classes), dtype=np.int64)
    for index in range(number):
        members = np.flatnonzero(classes == index)
        ends = np.round(len(members) * cumulative[index])
        bias[members] = np.searchsorted(ends, np.arange(len(members)), side="right")
    return bias


def set_apart(split: Split, share: float) -> Mapping[str, Split]:
    """Set a share of the training images apart for validation, with the groups of the whole.

    Args:
        split: All of them; the bias attribute is known.
        share: In [0, 1).

    Returns:
        ``"train"`` and, unless the share is 0, ``"val"``.
    """
    if share == 0:
        return {"train": split}
    number = int(split.bias.max(initial=0)) + 1 if split.bias is not None else 1
    groups = split.target if split.bias is None else split.target * number + split.bias
    apart = evenly_apart(groups, share)
    return {"train": _subset(split, ~apart), "val": _subset(split, apart)}


def evenly_apart(groups: np.ndarray, share: float) -> np.ndarray:
    """Pick a share of each group, evenly spaced in dataset order, so that what is picked has the whole's distribution.

    Args:
        groups: (N,) int64 group of each image.
        share: In (0, 1).

    Returns:
        (N,) bool. Of a group of n images, ``floor(n * share + 1/2)`` are picked.
    """
    picked = np.zeros(len(groups), dtype=bool)
    for group in np.unique(groups):
        members = np.flatnonzero(groups == group)
        steps = np.floor(np.arange(len(members) + 1) * share + 0.5)
        picked[members] = np.diff(steps) > 0
    return picked


def _subset(split: Split, keep: np.ndarray) -> Split:
    where = np.flatnonzero(keep)
    return Split(
        inputs=np.asarray(split.inputs)[where],
        target=split.target[where],
        bias=None if split.bias is None else split.bias[where],
        ids=[split.ids[index] for index in where.tolist()],
    )
