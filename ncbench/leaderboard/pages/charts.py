"""What the charts show, as JSON that a script hands to Plotly: curves over epochs, rows of a table, mean ranks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Any

from ncbench.leaderboard.pages.wording import Wording, labels
from ncbench.leaderboard.tables.board import DatasetTable, Overview, Row
from ncbench.leaderboard.tables.curves import ACCURACIES, Curve, History

DIGITS = 5
"""Significant ones of a value: more than a chart can show."""


@dataclass(frozen=True)
class Panel:
    """One set of axes.

    Args:
        title: What it shows.
        lines: (metric, label) of each line; at most four.
        scale: ``"percent"`` from 0 to 100, ``"linear"`` from 0, or ``"log"``.
    """

    title: str
    lines: tuple[tuple[str, str], ...]
    scale: str


_NC1 = (("nc1", "of the target"), ("bias_nc1", "of the bias"))
_NC2 = (("nc2_norm_cv", "norms, std / mean"), ("nc2_angle_std", "cosines, std"))
_OF_FEATURES = (
    Panel("NC1, train: variability within classes", _NC1, "log"),
    Panel("NC2, train: uneven class means", _NC2, "linear"),
)
_OF_CLASSIFIER = Panel("NC3, train: classifier from class means", (("nc3_self_duality", "distance"),), "linear")
_STATED = {"nc1": "NC1, train (stated)", "bias_nc1": "NC1 of the bias, train (stated)"}
_COST = "seconds of training (stated)"


def panels(primary: str, heading: Callable[[str], str], frozen: bool = False) -> tuple[Panel, ...]:
    """Return the panels of a row.

    Args:
        primary: The dataset's primary metric, drawn first.
        heading: Name of a metric -> its label.
        frozen: Whether its backbone is frozen, so that what is measured of the features is the same for every method.
    """
    lines = tuple((name, heading(name)) for name in dict.fromkeys([primary, *ACCURACIES]))
    return (Panel("Accuracy, test", lines, "percent"), *(() if frozen else _OF_FEATURES), _OF_CLASSIFIER)


def curves(panel: Panel, histories: Sequence[History]) -> dict[str, Any] | None:
    """Return what the runs of one row have measured, the median over seeds and every seed; None if that is nothing.

    Args:
        panel: What to draw.
        histories: One a seed.
    """
    factor = 100 if panel.scale == "percent" else 1
    lines = []
    for style, (metric, label) in enumerate(panel.lines):
        found = [history.curves[metric] for history in histories if metric in history.curves]
        if found:
            seeds = [_points(curve.epochs, curve.values, factor) for curve in found] if len(found) > 1 else []
            lines.append({"label": label, "style": style, "median": _points(*_median(found), factor), "seeds": seeds})
    if not lines:
        return None
    stages = sorted({epoch for history in histories for epoch in history.stages})
    return {"kind": "curves", "title": panel.title, "scale": panel.scale, "lines": lines, "stages": stages}


def _median(found: Sequence[Curve]) -> tuple[Sequence[int], Sequence[float]]:
    """Return the epochs that all curves have, and the median there."""
    shared = set.intersection(*(set(curve.epochs) for curve in found))
    columns = [
        [value for epoch, value in zip(curve.epochs, curve.values, strict=True) if epoch in shared] for curve in found
    ]
    return sorted(shared), list(map(median, zip(*columns, strict=True)))


def _points(epochs: Sequence[int], values: Iterable[float], factor: float) -> list[Sequence[float]]:
    return [list(epochs), [_rounded(factor * value) for value in values]]


def _rounded(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")


def rows(
    table: DatasetTable, wording: Wording, histories: Mapping[str, History], frozen: bool = False
) -> dict[str, Any]:
    """Return the rows of a dataset's table with every number that can be set against another.

    Args:
        table: The dataset's.
        wording: Of the board's metrics.
        histories: Path of a record -> what it states of its course.
        frozen: Whether the backbone of every row is, so that NC1 tells nothing of methods.
    """
    axes = {name: wording.heading(name) for name in wording.columns(table.sections)}
    every = [row for section in table.sections for row in section.rows]
    lengths, backbones = {row.epochs for row in every}, {row.backbone.spec for row in every}
    found = []
    for section in table.sections:
        for row in section.rows:
            values = {name: _interval(row, name, wording) for name in row.metrics}
            values |= _course([histories[run.record] for run in row.runs], row.learns_features)
            length = f"{row.epochs} epochs" if len(lengths) > 1 else ""
            parts = (row.label, row.distinction, row.backbone.spec if len(backbones) > 1 else "", length)
            found.append({"name": ", ".join(filter(None, parts)), "labels": labels(section), "values": values})
    for name, heading in {**({} if frozen else _STATED), "cost": _COST}.items():
        if any(name in row["values"] for row in found):
            axes[name] = heading
    return {"kind": "rows", "primary": table.primary_metric, "axes": axes, "rows": found}


def _interval(row: Row, name: str, wording: Wording) -> list[float]:
    """Return a mean as it is shown and, if it has one, half its interval."""
    estimate, factor = row.metrics[name], wording.factor(name)
    ends = [] if estimate.low is None or estimate.high is None else [(estimate.high - estimate.low) / 2]
    return [_rounded(factor * value) for value in (estimate.mean, *ends)]


def _course(histories: Sequence[History], measured: bool) -> dict[str, list[float]]:
    """Return the means over seeds of the last collapse measures, where asked for, and the median of the seconds."""
    found = {}
    for name in _STATED if measured else ():
        last = [value for history in histories if (value := history.last(name)) is not None]
        if last:
            found[name] = [_rounded(fmean(last))]
    cost = seconds(histories)
    return found if cost is None else {**found, "cost": [_rounded(cost)]}


def seconds(histories: Sequence[History]) -> float | None:
    """Return the median of what some runs state of their seconds of training; None if they state none."""
    stated = [history.seconds for history in histories if history.seconds is not None]
    return median(stated) if stated else None


def ranks(overview: Overview) -> dict[str, Any] | None:
    """Return the critical-difference diagram (Demšar 2006, figure 1) of an overview; None if it has no test."""
    if overview.test is None:
        return None
    return {
        "kind": "ranks",
        "methods": [[method.method, method.mean_rank] for method in overview.methods],
        "difference": overview.test.critical_difference,
        "alike": overview.test.alike,
    }
