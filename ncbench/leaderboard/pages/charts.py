"""Curves over epochs as SVG paths: the median over seeds, and every seed as a faint line.

Coordinates are whole numbers in a box of :data:`WIDTH` by :data:`HEIGHT`, half a pixel each at the usual size: short,
and the same on every machine. The epoch axis is logarithmic, since most happens early.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import NamedTuple

from ncbench.leaderboard.tables.curves import ACCURACIES, Curve, History
from ncbench.pictures.scales import steps

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


class Tick(NamedTuple):
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


_NC1 = (("nc1", "of the target"), ("bias_nc1", "of the bias"))
_NC2 = (("nc2_norm_cv", "norms, std / mean"), ("nc2_angle_std", "cosines, std"))
_COLLAPSE = (
    Panel("NC1, train: variability within classes", _NC1, "logarithmic"),
    Panel("NC2, train: uneven class means", _NC2, "linear"),
    Panel("NC3, train: classifier from class means", (("nc3_self_duality", "distance"),), "linear"),
)


def panels(primary: str, heading: Callable[[str], str]) -> tuple[Panel, ...]:
    """Return the panels of a dataset.

    Args:
        primary: The dataset's primary metric, drawn first.
        heading: Name of a metric -> its label.
    """
    lines = tuple((name, heading(name)) for name in dict.fromkeys([primary, *ACCURACIES]))
    return (Panel("Accuracy, test", lines, "percent"), *_COLLAPSE)


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
    scale = _scale(panel.scale, [value for _, _, curves in found for curve in curves for value in curve.values])
    lines = []
    for style, label, curves in found:
        seeds = tuple(_path(curve.epochs, curve.values, last, scale) for curve in curves) if len(curves) > 1 else ()
        lines.append(Line(label, style, _path(*_median(curves), last, scale), seeds))
    ticks = tuple(int(mark) for mark in steps(1, last, (1, 2, 5) if last <= 200 else (1,)) if mark <= last)
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
    return tuple(sorted(shared)), list(map(median, zip(*columns, strict=True)))


def _path(epochs: tuple[int, ...], values: Sequence[float], last: int, scale: _Scale) -> str:
    """Return a path through the points; a single one is drawn as a dot by the line's round ends."""
    points = " ".join([f"{x},{y}" for x, y in zip(_across(epochs, last), scale.places(values), strict=True)])
    return f"M{points}h0" if points else ""


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
        bottom, top = self.marks[0], self.marks[-1]
        scale = math.log10 if self.logarithmic else float
        low, height = scale(bottom), (BOTTOM - TOP) / (scale(top) - scale(bottom))
        return [round(BOTTOM - height * (scale(min(max(value, bottom), top)) - low)) for value in values]


def _scale(kind: str, values: Sequence[float]) -> _Scale:
    """Return the axis of a kind that holds some values, with eight marks at most."""
    if kind == "percent":
        return _Scale((0, 0.25, 0.5, 0.75, 1), ".0%")
    if kind == "linear":
        largest = min(max(values), _LARGEST) if max(values) >= 1 / _LARGEST else 1.0
        step = next(step for step in steps(largest / 5, largest, (1, 2, 5)) if largest <= 5 * step)
        return _Scale([step * number for number in range(math.ceil(largest / step) + 1)], ".3g")
    positive = [value for value in values if value > 0] or [1.0]
    low, high = (min(max(value, 1 / _LARGEST), _LARGEST) for value in (min(positive), max(positive)))
    marks = steps(low, high, (1, 2, 5) if high <= 100 * low else (1,))
    every = math.ceil((len(marks) - 1) / 6)
    return _Scale([*marks[:-1:every], marks[-1]], ".3g", logarithmic=True)
