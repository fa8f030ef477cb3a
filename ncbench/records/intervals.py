"""Means over seeds with 95% intervals of Student's t."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from statistics import fmean

MIN_SEEDS = 3
"""Below this many runs there is neither an interval nor a rank."""


def half_width(values: Sequence[float]) -> float | None:
    """Return half the width of the 95% interval of the mean, or None for fewer than three values.

    t(0.975, n - 1) s / sqrt(n), s the sample standard deviation. Sums are exact, so that the order does not matter.
    """
    n = len(values)
    if n < MIN_SEEDS:
        return None
    centre = fmean(values)
    variance = math.fsum((value - centre) ** 2 for value in values) / (n - 1)
    return _t_quantile(n - 1) * math.sqrt(variance / n)


@functools.cache
def _t_quantile(degrees: int) -> float:
    from scipy.special import stdtrit  # what scipy.stats takes, which is three times as slow to import

    return float(stdtrit(degrees, 0.975))
