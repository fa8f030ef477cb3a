"""Permutations as torch.randperm draws them on a CPU, without torch: what a published seed made is made again."""

from __future__ import annotations

import numpy as np


def permutations(stream: np.random.RandomState, rows: int, size: int, first: int) -> np.ndarray:
    """Draw as that many calls of ``torch.randperm(size)`` do, one after the other.

    Both libraries have the Mersenne Twister, seeded in the same way; RandomState's is frozen for good (NEP 19).

    Args:
        stream: In the state of the generator of torch; it is moved on.
        rows: Number of calls.
        size: What is permuted.
        first: How many values of each permutation are wanted.

    Returns:
        (rows, first) int64 in 0..size-1.
    """
    draws = stream.randint(0, 2**32, size=(rows, size - 1), dtype=np.uint32)
    found = np.tile(np.arange(size), (rows, 1))
    every = np.arange(rows)
    for place in range(min(first, size - 1)):  # Fisher and Yates, from the front: what comes later leaves it as it is
        other = place + draws[:, place] % (size - place)
        found[every, other], found[:, place] = found[:, place].copy(), found[every, other]
    return found[:, :first]
