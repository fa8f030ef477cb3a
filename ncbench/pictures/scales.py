"""The scales of curves over epochs: which ticks there are, so that they can be read at any length of a run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

_FEW_EPOCHS = 10  # up to here every epoch has its tick


def scale_epochs(axis: Any, last: int) -> None:
    """Set the x axis from the first epoch to the last; beyond ten it is logarithmic, as collapse begins in the first.

    Args:
        axis: The axes.
        last: The last epoch of any curve in the picture: panels are read side by side and have one scale.
    """
    from matplotlib.ticker import NullFormatter

    if last <= _FEW_EPOCHS:
        axis.set_xlim(0.5, last + 0.5)
        axis.set_xticks(range(1, last + 1))
        return
    axis.set_xscale("log")
    margin = last**0.04
    axis.set_xlim(1 / margin, last * margin)
    factors = (1, 2, 5) if last <= 150 else (1, 3) if last <= 5000 else (1,)
    axis.set_xticks([tick for tick in steps(1, last, factors) if tick <= last])
    axis.xaxis.set_major_formatter("{x:g}")
    axis.xaxis.set_minor_formatter(NullFormatter())


def scale_logarithmically(axis: Any, values: Sequence[float]) -> None:
    """Set the y axis to a logarithmic one: whole decades, or, within one, from and to 1, 2 or 5 times a power of ten.

    Args:
        axis: The axes.
        values: What is drawn, all positive.
    """
    from matplotlib.ticker import LogFormatterSciNotation, NullFormatter

    lowest, highest = min(values), max(values)
    axis.set_yscale("log")
    axis.yaxis.set_minor_formatter(NullFormatter())
    within_a_decade = highest < 10 * lowest
    marks = steps(lowest, highest, (1, 2, 5) if within_a_decade else (1,))
    axis.set_ylim(marks[0], marks[-1])
    if within_a_decade:
        axis.set_yticks(marks)
        plain = marks[0] >= 1e-3 and marks[-1] < 1e5
        axis.yaxis.set_major_formatter("{x:g}" if plain else LogFormatterSciNotation(minor_thresholds=(9, 9)))


def steps(lowest: float, highest: float, factors: Sequence[int]) -> list[float]:
    """The powers of ten times some factors, ascending, at least two: from below the lowest to above the highest."""
    decades = range(math.floor(math.log10(lowest)) - 1, math.ceil(math.log10(highest)) + 2)
    marks = [factor * 10.0**decade for decade in decades for factor in factors]
    first = max(index for index, mark in enumerate(marks) if mark <= lowest * (1 + 1e-9))
    last = min(index for index, mark in enumerate(marks) if mark >= highest * (1 - 1e-9) and index > first)
    return marks[first : last + 1]
