"""Runs side by side: means over seeds, and the difference to the first configuration."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from ncbench.contracts.errors import ConfigurationError, unknown_name
from ncbench.results.archive import RunResult
from ncbench.results.record import ACCURACIES
from ncbench.results.table import COLLAPSE


def label(result: RunResult) -> str:
    """Return what names a run's configuration: everything but the seed."""
    record = result.record
    return f"{record.method.spec} / {record.dataset.spec} / {record.backbone.spec}"


def by_configuration(results: Sequence[RunResult]) -> dict[str, list[RunResult]]:
    """Group runs that differ in the seed alone, in the order in which they were given."""
    grouped: dict[tuple[str, str], list[RunResult]] = {}
    for result in results:
        grouped.setdefault((label(result), str(sorted(_settings(result).items()))), []).append(result)
    settings: dict[str, list[dict[str, Any]]] = {}
    for (text, _), members in grouped.items():
        settings.setdefault(text, []).append(_settings(members[0]))
    return {
        f"{text}{_differences(_settings(members[0]), settings[text])}": members
        for (text, _), members in grouped.items()
    }


def _settings(result: RunResult) -> dict[str, Any]:
    """Return what a run's label does not say: its recipe, and which data it was on, a twin's or others than usual."""
    dataset = result.record.dataset
    return {**result.record.recipe, "synthetic": dataset.synthetic, "fingerprint": dataset.fingerprint[:12]}


def _differences(settings: dict[str, Any], others: Sequence[dict[str, Any]]) -> str:
    """Return what sets settings apart from others of the same label, as `` (epochs=10)``; nothing if they are alone."""
    keys = sorted({key for other in others for key in {*settings, *other} if settings.get(key) != other.get(key)})
    return f" ({', '.join(f'{key}={settings.get(key)}' for key in keys)})" if keys else ""


def parse_limit(text: str) -> tuple[str, float]:
    """Read ``METRIC:POINTS``.

    Raises:
        ConfigurationError: The text has another form.
    """
    metric, colon, points = text.partition(":")
    try:
        value = float(points)
    except ValueError:
        value = math.nan
    if not colon or not metric or not value >= 0:
        raise ConfigurationError(f"{text!r} is not of the form METRIC:POINTS, as in --fail worst_group_accuracy:1.5.")
    return metric, value


def print_comparison(results: Sequence[RunResult]) -> None:
    """Print one column a configuration: mean and standard deviation over seeds, and differences to the first."""
    grouped = by_configuration(results)
    console = Console()
    for number, (text, members) in enumerate(grouped.items(), start=1):
        statuses = ", ".join(sorted({member.status for member in members}))
        console.print(f"[{number}] {text}: {len(members)} run(s), {statuses}", markup=False, highlight=False)
    table = Table("metric", *(f"[{number}]" for number in range(1, len(grouped) + 1)), box=None)
    for column in table.columns[1:]:
        column.justify = "right"
    reference = next(iter(grouped.values()))
    rows = [("test", name, 100, "{:.2f}") for name in ACCURACIES] + [("train", name, 1, "{:.4g}") for name in COLLAPSE]
    for split, name, scale, style in rows:
        columns = [[scale * value for value in _values(members, name, split)] for members in grouped.values()]
        if not any(columns):
            continue
        base = [scale * value for value in _values(reference, name, split)]
        cells = [
            _mean_and_deviation(values, style) + ("" if not number or not base else _difference(values, base, style))
            for number, values in enumerate(columns)
        ]
        table.add_row(f"{name}{' (%)' if scale == 100 else ''}, {split}", *cells)
    console.print(table)


def shortfalls(results: Sequence[RunResult], limits: Sequence[tuple[str, float]]) -> list[str]:
    """Return one line for each configuration that is further below the first than a limit allows.

    Raises:
        ConfigurationError: A limit names a metric the runs do not have.
    """
    grouped = by_configuration(results)
    reference_label, reference = next(iter(grouped.items()))
    lines = []
    for metric, points in limits:
        base = _values(reference, metric)
        if not base:
            raise unknown_name("test metric", metric, reference[0].metrics.get("test", {}))
        for text, members in list(grouped.items())[1:]:
            values = _values(members, metric)
            drop = 100 * (statistics.fmean(base) - statistics.fmean(values)) if values else math.inf
            if drop > points:
                lines.append(f"{text}: {metric} is {drop:.2f} points below {reference_label}; {points:g} are allowed.")
    return lines


def _values(members: Sequence[RunResult], name: str, split: str = "test") -> list[float]:
    return [member.metrics[split][name] for member in members if name in member.metrics.get(split, {})]


def _mean_and_deviation(values: Sequence[float], style: str) -> str:
    if not values:
        return "-"
    mean = style.format(statistics.fmean(values))
    return f"{mean} ± {style.format(statistics.stdev(values))}" if len(values) > 1 else mean


def _difference(values: Sequence[float], reference: Sequence[float], style: str) -> str:
    if not values:
        return ""
    return f" ({style.replace(':', ':+').format(statistics.fmean(values) - statistics.fmean(reference))})"
