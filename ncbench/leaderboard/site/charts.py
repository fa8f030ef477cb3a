"""Curves over epochs as SVG paths: the median over seeds, and every seed as a faint line.

Coordinates are whole numbers in a box of :data:`WIDTH` by :data:`HEIGHT`, half a pixel each at the usual size: short,
and the same on every machine. The epoch axis is logarithmic, since most happens early.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ncbench.leaderboard.curves import Curve, History

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
    up, y_ticks = _SCALES[panel.scale]([curve for _, _, curves in found for curve in curves])
    lines = []
    for style, label, curves in found:
        seeds = tuple(_path(curve.epochs, curve.values, last, up) for curve in curves) if len(curves) > 1 else ()
        lines.append(Line(label, style, _path(*_median(curves), last, up), seeds))
    ticks = _epoch_ticks(last)
    x_ticks = tuple(Tick(x, str(epoch)) for x, epoch in zip(_across(ticks, last), ticks, strict=True))
    stages = _across(tuple(sorted({epoch for history in histories for epoch in history.stages})), last)
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


def _path(epochs: tuple[int, ...], values: Sequence[float], last: int, up: Callable[[float], int]) -> str:
    """Return a path through the points; a single one is drawn as a dot by the line's round ends."""
    points = " ".join([f"{x},{y}" for x, y in zip(_across(epochs, last), map(up, values), strict=True)])
    return f"M{points}h0" if points else ""


def _epoch_ticks(last: int) -> tuple[int, ...]:
    factors = (1, 2, 5) if last <= 200 else (1,)
    marks = (factor * 10**power for power in range(len(str(last))) for factor in factors)
    return tuple(mark for mark in marks if mark <= last)


_Scale = tuple[Callable[[float], int], tuple[Tick, ...]]


def _percent(_: Sequence[Curve]) -> _Scale:
    return _linear_to(1.0, 4, lambda value: f"{round(100 * value)}")


def _linear(curves: Sequence[Curve]) -> _Scale:
    largest = min(max(max(curve.values) for curve in curves), _LARGEST)
    if largest < 1 / _LARGEST:
        largest = 1.0
    unit = 10.0 ** math.floor(math.log10(largest))
    step = unit * next(part for part in (0.2, 0.5, 1, 2, 5) if largest <= 5 * unit * part)
    steps = math.ceil(largest / step)
    return _linear_to(step * steps, steps, lambda value: f"{value:.3g}")


def _linear_to(top: float, steps: int, text: Callable[[float], str]) -> _Scale:
    height = (BOTTOM - TOP) / top

    def up(value: float) -> int:
        return round(BOTTOM - height * min(max(value, 0.0), top))

    marks = [top * step / steps for step in range(steps + 1)]
    return up, tuple(Tick(up(mark), text(mark)) for mark in marks)


def _logarithmic(curves: Sequence[Curve]) -> _Scale:
    positive = [value for curve in curves for value in curve.values if value > 0] or [1.0]
    low, high = (min(max(value, 1 / _LARGEST), _LARGEST) for value in (min(positive), max(positive)))
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 2)
    factors = (1, 2, 5) if high <= 100 * low else (1,)
    marks = [factor * 10.0**power for power in powers for factor in factors]
    first = max(position for position, mark in enumerate(marks) if mark <= low * (1 + 1e-9))
    last = max(first + 1, next(position for position, mark in enumerate(marks) if mark >= high * (1 - 1e-9)))
    bottom = math.log10(marks[first])
    height = (BOTTOM - TOP) / (math.log10(marks[last]) - bottom)

    def up(value: float) -> int:
        return round(BOTTOM - height * (math.log10(min(max(value, marks[first]), marks[last])) - bottom))

    every = math.ceil((last - first) / 6)
    return up, tuple(Tick(up(mark), f"{mark:g}") for mark in marks[first : last + 1 : every])


_SCALES: dict[str, Callable[[Sequence[Curve]], _Scale]] = {
    "percent": _percent,
    "linear": _linear,
    "logarithmic": _logarithmic,
}
