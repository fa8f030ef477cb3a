"""Curves over epochs as SVG paths: the median over seeds, and every seed as a faint line.

Coordinates are whole numbers in a box of :data:`WIDTH` by :data:`HEIGHT`, half a pixel each at the usual size: short,
and the same on every machine. The epoch axis is logarithmic, since most happens early.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ncbench.leaderboard.tables.curves import Curve, History

WIDTH, HEIGHT = 600, 400
LEFT, RIGHT, TOP, BOTTOM = 84, 572, 20, 348
_LARGEST = 1e12
"""Values beyond it, or below its inverse on a logarithmic axis, are drawn at the edge: no measure is near it."""


@dataclass(frozen=True)
class Panel:
    """One set of axes.

    Args:
        title: What it shows.
        lines: (metric, label) of each line; at most four.
        scale: ``"percent"`` from 0 to 100, ``"linear"`` from 0, or ``"logarithmic"``.
    """

    title: str
    lines: tuple[tuple[str, str], ...]
    scale: str


@dataclass(frozen=True)
class Line:
    """One metric of a chart: paths in SVG's syntax.

    Args:
        label: For the legend.
        style: Which of the four line styles; fixed for a metric, so that charts compare.
        median: Over the seeds, at the epochs that all of them have.
        seeds: One path a seed; empty where there is only one.
    """

    label: str
    style: int
    median: str
    seeds: tuple[str, ...]


@dataclass(frozen=True)
class Tick:
    """A mark on an axis."""

    at: int
    label: str


@dataclass(frozen=True)
class Chart:
    """What a template needs to draw one panel."""

    title: str
    lines: tuple[Line, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    stages: tuple[int, ...]


_ACCURACIES = (
    ("aligned_accuracy", "aligned"),
    ("conflicting_accuracy", "conflicting"),
    ("worst_group_accuracy", "worst group"),
)
_COLLAPSE = (
    Panel(
        "NC1, train: variability within classes",
        (("nc1", "of the target"), ("bias_nc1", "of the bias")),
        "logarithmic",
    ),
    Panel(
        "NC2, train: uneven class means",
        (("nc2_norm_cv", "norms, std / mean"), ("nc2_angle_std", "cosines, std")),
        "linear",
    ),
    Panel("NC3, train: classifier from class means", (("nc3_self_duality", "distance"),), "linear"),
)


def panels(primary: str, label: str) -> tuple[Panel, ...]:
    """Return the panels of a dataset.

    Args:
        primary: The dataset's primary metric, drawn first.
        label: Its heading.
    """
    others = tuple(line for line in _ACCURACIES if line[0] != primary)
    return (Panel("Accuracy, test", ((primary, label), *others), "percent"), *_COLLAPSE)


def draw(panel: Panel, histories: Sequence[History]) -> Chart | None:
    """Draw what the runs of one row have measured; None if that is nothing.

    Args:
        panel: What to draw.
        histories: One a seed.
    """
    found = [
        (style, label, curves)
        for style, (metric, label) in enumerate(panel.lines)
        if (curves := [history.curves[metric] for history in histories if metric in history.curves])
    ]
    if not found:
        return None
    last = max(2, *(history.epochs for history in histories))
    scale = _SCALES[panel.scale]([curve for _, _, curves in found for curve in curves])
    lines = []
    for style, label, curves in found:
        seeds = tuple(_path(curve.epochs, curve.values, last, scale) for curve in curves) if len(curves) > 1 else ()
        lines.append(Line(label, style, _path(*_median(curves), last, scale), seeds))
    ticks = _epoch_ticks(last)
    x_ticks = tuple(Tick(x, str(epoch)) for x, epoch in zip(_across(ticks, last), ticks, strict=True))
    stages = _across(tuple(sorted({epoch for history in histories for epoch in history.stages})), last)
    y_ticks = tuple(
        Tick(y, f"{mark:{scale.text}}") for y, mark in zip(scale.places(scale.marks), scale.marks, strict=True)
    )
    return Chart(panel.title, tuple(lines), x_ticks, y_ticks, stages)


@functools.lru_cache(maxsize=256)  # the runs of an archive share a few lists of epochs
def _across(epochs: tuple[int, ...], last: int) -> tuple[int, ...]:
    """Return the places of epochs on the axis."""
    width = (RIGHT - LEFT) / math.log(last)
    return tuple(round(LEFT + width * math.log(epoch)) for epoch in epochs)


def _median(curves: Sequence[Curve]) -> tuple[tuple[int, ...], Sequence[float]]:
    """Return the epochs that all curves have, and the median there."""
    shared = set.intersection(*(set(curve.epochs) for curve in curves))
    columns = [
        [value for epoch, value in zip(curve.epochs, curve.values, strict=True) if epoch in shared] for curve in curves
    ]
    low, high = (len(curves) - 1) // 2, len(curves) // 2
    ordered = map(sorted, zip(*columns, strict=True))
    return tuple(sorted(shared)), [(values[low] + values[high]) / 2 for values in ordered]


def _path(epochs: tuple[int, ...], values: Sequence[float], last: int, scale: _Scale) -> str:
    """Return a path through the points; a single one is drawn as a dot by the line's round ends."""
    points = " ".join([f"{x},{y}" for x, y in zip(_across(epochs, last), scale.places(values), strict=True)])
    return f"M{points}h0" if points else ""


def _epoch_ticks(last: int) -> tuple[int, ...]:
    factors = (1, 2, 5) if last <= 200 else (1,)
    marks = (factor * 10**power for power in range(len(str(last))) for factor in factors)
    return tuple(mark for mark in marks if mark <= last)


@dataclass(frozen=True)
class _Scale:
    """The upright axis, from the first of its marks at the bottom to the last at the top.

    Args:
        marks: Where lines are drawn, increasing.
        text: Format of their labels.
        logarithmic: Whether places are even in the logarithm.
    """

    marks: Sequence[float]
    text: str
    logarithmic: bool = False

    def places(self, values: Sequence[float]) -> list[int]:
        """Return the heights of values; those beyond the axis lie on its end."""
        low, high = self.marks[0], self.marks[-1]
        if not (values and low <= min(values) and max(values) <= high):
            values = [min(max(value, low), high) for value in values]
        if self.logarithmic:
            values = [math.log10(value) for value in values]
            low, high = math.log10(low), math.log10(high)
        height = (BOTTOM - TOP) / (high - low)
        return [round(BOTTOM - height * (value - low)) for value in values]


def _percent(_: Sequence[Curve]) -> _Scale:
    return _Scale((0, 0.25, 0.5, 0.75, 1), ".0%")


def _linear(curves: Sequence[Curve]) -> _Scale:
    largest = min(max(max(curve.values) for curve in curves), _LARGEST)
    if largest < 1 / _LARGEST:
        largest = 1.0
    unit = 10.0 ** math.floor(math.log10(largest))
    step = unit * next(part for part in (0.2, 0.5, 1, 2, 5) if largest <= 5 * unit * part)
    return _Scale([step * number for number in range(math.ceil(largest / step) + 1)], ".3g")


def _logarithmic(curves: Sequence[Curve]) -> _Scale:
    positive = [value for curve in curves for value in curve.values if value > 0] or [1.0]
    low, high = (min(max(value, 1 / _LARGEST), _LARGEST) for value in (min(positive), max(positive)))
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 6)
    factors = (1, 2, 5) if high <= 100 * low else (1,)
    marks = [factor * 10.0**power for power in powers for factor in factors]
    first = max(position for position, mark in enumerate(marks) if mark <= low * (1 + 1e-9))
    last = max(first + 1, next(position for position, mark in enumerate(marks) if mark >= high * (1 - 1e-9)))
    every = math.ceil((last - first) / 6)
    return _Scale(marks[first : last + every : every], ".3g", logarithmic=True)


_SCALES: dict[str, Callable[[Sequence[Curve]], _Scale]] = {
    "percent": _percent,
    "linear": _linear,
    "logarithmic": _logarithmic,
}
