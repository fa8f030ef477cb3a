"""Runs side by side: means over seeds, and the difference to the first configuration."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from ncbench.contracts.errors import ConfigurationError, unknown_name
from ncbench.results.archive import RunResult
from ncbench.results.table import SHARES


def label(result: RunResult) -> str:
    """Return what names a run's configuration: everything but the seed."""
    record = result.record
    return f"{record.method.spec} / {record.dataset.spec} / {record.backbone.spec}"


def by_configuration(results: Sequence[RunResult]) -> dict[str, list[RunResult]]:
    """Group runs that differ in the seed alone, in the order in which they were given."""
    grouped: dict[tuple[str, str], list[RunResult]] = {}
    for result in results:
        grouped.setdefault((label(result), str(sorted(result.record.recipe.items()))), []).append(result)
    labelled: dict[str, list[RunResult]] = {}
    for (text, _), members in grouped.items():
        number = sum(existing == text or existing.startswith(f"{text} #") for existing in labelled)
        labelled[f"{text} #{number + 1}" if number else text] = members
    return labelled


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
    """Print one column a configuration: test metrics in per cent, mean and standard deviation over seeds."""
    grouped = by_configuration(results)
    names = [name for name in SHARES if any(name in result.metrics.get("test", {}) for result in results)]
    console = Console()
    for number, (text, members) in enumerate(grouped.items(), start=1):
        statuses = ", ".join(sorted({member.status for member in members}))
        console.print(f"[{number}] {text}: {len(members)} run(s), {statuses}", markup=False, highlight=False)
    table = Table("test metric (%)", *(f"[{number}]" for number in range(1, len(grouped) + 1)), box=None)
    for column in table.columns[1:]:
        column.justify = "right"
    reference = next(iter(grouped.values()))
    for name in names:
        cells = []
        for members in grouped.values():
            values = _values(members, name)
            difference = "" if members is reference else _difference(values, _values(reference, name))
            cells.append(_mean_and_deviation(values) + difference)
        table.add_row(name, *cells)
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


def _values(members: Sequence[RunResult], name: str) -> list[float]:
    return [member.metrics["test"][name] for member in members if name in member.metrics.get("test", {})]


def _mean_and_deviation(values: Sequence[float]) -> str:
    if not values:
        return "-"
    mean = f"{100 * statistics.fmean(values):.2f}"
    return f"{mean} ± {100 * statistics.stdev(values):.2f}" if len(values) > 1 else mean


def _difference(values: Sequence[float], reference: Sequence[float]) -> str:
    if not values or not reference:
        return ""
    return f" ({100 * (statistics.fmean(values) - statistics.fmean(reference)):+.2f})"
