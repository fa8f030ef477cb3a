"""Which image gets which bias value: deterministic, in dataset order."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ncbench_datasets.made.held_out import hold_out, refuse_share


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


def assign_training_bias(
    names: Sequence[str], classes: np.ndarray, class_names: Sequence[str], conflict: float, val: float, val_bias: str
) -> tuple[np.ndarray, np.ndarray]:
    """Hold a share of the training images out for validation, and give both parts their bias.

    Args:
        names: N names, which decide what is held out.
        classes: (N,) int64 classes, 0..K-1.
        class_names: K names; there are as many bias values.
        conflict: Share of each class's training images without the class's own value.
        val: Share held out of each class.
        val_bias: Of these: "same", or "uniform" for every value equally likely.

    Returns:
        (N,) int64 bias values 0..K-1, and (N,) bool, which images are held out.

    Raises:
        ConfigurationError: A class would have no image to train on or to validate on, or a value that is to be equally
            likely would have none.
    """
    number, uniform = len(class_names), val_bias == "uniform"
    counts = np.bincount(classes, minlength=number).tolist()
    refuse_share(val, dict(zip(class_names, counts, strict=True)), number if uniform else 1)
    held = hold_out(names, classes, val)
    bias = np.empty(len(classes), dtype=np.int64)
    bias[~held] = assign_bias(classes[~held], 1 - conflict, number)
    bias[held] = assign_bias(classes[held], 1 / number if uniform else 1 - conflict, number)
    return bias, held
