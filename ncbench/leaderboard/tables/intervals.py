"""Means over seeds with 95% intervals of Student's t. Plain Python: importing SciPy costs more than a build."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

MIN_SEEDS = 3
"""Below this many runs there is neither an interval nor a rank."""


def mean(values: Sequence[float]) -> float:
    """Return the mean, correctly rounded, so that it does not depend on the order or the machine."""
    return math.fsum(values) / len(values)


def half_width(values: Sequence[float]) -> float | None:
    """Return half the width of the 95% interval of the mean, or None for fewer than three values.

    t(0.975, n - 1) s / sqrt(n), s the sample standard deviation.
    """
    n = len(values)
    if n < MIN_SEEDS:
        return None
    centre = mean(values)
    variance = math.fsum((value - centre) ** 2 for value in values) / (n - 1)
    return t_quantile(n - 1) * math.sqrt(variance / n)


@functools.cache
def t_quantile(degrees: int) -> float:
    """Return the 0.975 quantile of Student's t with this many degrees of freedom (at least 1)."""
    low, high = 0.0, 13.0  # t(0.975, 1) is 12.706, and it falls with the degrees
    while high - low > 1e-12:
        middle = (low + high) / 2
        if _within(middle, degrees) < 0.95:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _within(t: float, degrees: int) -> float:
    """Return P(|T| < t): the finite sums of Abramowitz & Stegun 26.7.3 (odd) and 26.7.4 (even)."""
    theta = math.atan(t / math.sqrt(degrees))
    cosine = math.cos(theta)
    first, term = (1, cosine) if degrees % 2 else (0, 1.0)
    total = 0.0
    for k in range(first, degrees - 1, 2):
        total += term
        term *= cosine * cosine * (k + 1) / (k + 2)
    if degrees % 2:
        return 2 / math.pi * (theta + math.sin(theta) * total)
    return math.sin(theta) * total
