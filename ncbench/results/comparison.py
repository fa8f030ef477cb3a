"""Runs side by side: means over seeds, and the difference to the first configuration on the same data."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Any

from rich.cells import cell_len
from rich.markup import escape
from rich.table import Table

from ncbench.contracts.errors import ConfigurationError, counted, unknown_name
from ncbench.results.archive import RunResult
from ncbench.results.record import ACCURACIES
from ncbench.results.table import COLLAPSE, MISTAKES, plugin_metrics
from ncbench.results.terminal import text_console

_GAP = 2  # cells between two columns


def label(result: RunResult) -> str:
    """Return what names a run's configuration: everything but the seed, and whether the data are not the real ones."""
    record = result.record
    caveat = f" ({record.dataset.caveat})" if record.dataset.caveat else ""
    return f"{record.method.spec} / {record.dataset.spec}{caveat} / {record.backbone.spec}"


def by_configuration(results: Sequence[RunResult]) -> dict[str, list[RunResult]]:
    """Group runs that differ in the seed alone, in the order in which they were given."""
    grouped: dict[tuple[str, str], list[RunResult]] = {}
    for result in results:
        grouped.setdefault((label(result), str(sorted(_settings(result).items()))), []).append(result)
    settings: dict[str, list[dict[str, Any]]] = {}
    for (text, _), members in grouped.items():
        settings.setdefault(text, []).append(_settings(members[0]))
    labelled: dict[str, list[RunResult]] = {}
    for (text, _), members in grouped.items():  # 1 and 1.0 are written in two ways and are one setting
        labelled.setdefault(f"{text}{_differences(_settings(members[0]), settings[text])}", []).extend(members)
    return labelled


def by_data(results: Sequence[RunResult]) -> list[dict[str, list[RunResult]]]:
    """Group configurations by the data they were on: only on the same data is a difference one of configurations."""
    grouped: dict[tuple[str, str], dict[str, list[RunResult]]] = {}
    for text, members in by_configuration(results).items():
        dataset = members[0].record.dataset
        grouped.setdefault((dataset.spec, dataset.fingerprint), {})[text] = members
    return list(grouped.values())


def _settings(result: RunResult) -> dict[str, Any]:
    """Return what a run's label does not say: its recipe, and which data it was on, if others than usual."""
    return {**result.record.recipe, "fingerprint": result.record.dataset.fingerprint[:12]}


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
    """Print one column a configuration: mean and standard deviation over seeds, and differences to the first.

    Configurations on different data have tables of their own, each with its own first configuration. A table that is
    wider than the terminal goes on below itself.
    """
    console = text_console()
    data = by_data(results)
    number = 0
    for grouped in data:
        if number:
            console.print()
        first, number = number + 1, number + len(grouped)
        headings = [f"[{position}]" for position in range(first, number + 1)]
        for heading, (text, members) in zip(headings, grouped.items(), strict=True):
            seeds = len({member.record.seed for member in members})
            runs = counted(len(members), "run")
            if seeds < len(members):  # as of several machines, or of data that changed on the way
                runs += f" of {counted(seeds, 'seed')}"
            statuses = ", ".join(sorted({member.status for member in members}))
            console.print(f"{heading} {text}: {runs}, {statuses}", markup=False, highlight=False)
        tables = _tables(headings, list(grouped.values()), console.width)
        for table in tables:
            console.print(table)
        if not tables:
            console.print("No metrics yet: no evaluation was finished.", highlight=False)
    if any(len(members) > 1 for grouped in data for members in grouped.values()):
        console.print("\n±: standard deviation over the runs.", highlight=False)
    if len(data) > 1:
        console.print(
            "\nRuns on different data, or on different versions of them, are in tables of their own: no difference is "
            "taken between them.",
            highlight=False,
        )


def _tables(headings: Sequence[str], configurations: Sequence[Sequence[RunResult]], width: int) -> list[Table]:
    """Return the table of some configurations, in as many parts as the width asks for; none if none has metrics."""
    names = ["metric"]
    columns = [[heading] for heading in headings]
    of_plugins = [(split, name, 1, _PLAIN) for name in plugin_metrics() for split in ("test", "train")]
    for split, name, scale, formats in (*_ROWS, *of_plugins):
        values = [[scale * value for value in _values(members, name, split)] for members in configurations]
        if not any(values):
            continue
        names.append(f"{name}{' (%)' if scale == 100 else ''}, {split}")
        for position, column in enumerate(columns):
            column.append(_cell(values[position], values[0] if position else [], formats))
    if not names[1:]:
        return []
    parts: list[list[list[str]]] = []
    room = 0
    for column in columns:
        taken = _GAP + _width(column)
        if taken > room:
            parts.append([])
            room = width - _width(names)
        parts[-1].append(column)
        room -= taken
    return [_table([names, *part]) for part in parts]


# Formats of a mean, of a deviation, and of a difference.
_POINTS = (".2f", ".2f", "+.2f")
_PLAIN = (".4g", ".2g", "+.3g")
_ROWS = [
    *(("test", name, 100, _POINTS) for name in ACCURACIES),
    *(("test", name, 1, _PLAIN) for name in MISTAKES),
    *(("train", name, 1, _PLAIN) for name in COLLAPSE),
]


def _width(column: Sequence[str]) -> int:
    return max(map(cell_len, column))


def _table(columns: Sequence[Sequence[str]]) -> Table:
    headings, *rows = zip(*columns, strict=True)
    table = Table(*map(escape, headings), box=None, pad_edge=False, padding=(0, _GAP, 0, 0))
    for column in table.columns[1:]:
        column.justify = "right"
    for row in rows:
        table.add_row(*row)
    return table


def shortfalls(results: Sequence[RunResult], limits: Sequence[tuple[str, float]]) -> list[str]:
    """Return one line for each configuration that is further below the first on its data than a limit allows.

    Raises:
        ConfigurationError: A limit names no accuracy that the runs have, or a configuration is alone on its data.
    """
    lines = []
    for grouped in by_data(results):
        (reference_label, reference), *others = grouped.items()
        for metric, points in limits:
            base = _values(reference, metric)
            if not base or metric not in ACCURACIES:
                known = [name for name in ACCURACIES if name in reference[0].metrics.get("test", {})]
                raise unknown_name("test accuracy", metric, known)
            if not others:
                raise ConfigurationError(
                    f"--fail has nothing to compare {reference_label} with: no other configuration is on the same data."
                )
            for text, members in others:
                values = _values(members, metric)
                drop = 100 * (statistics.fmean(base) - statistics.fmean(values)) if values else math.inf
                if drop > points:
                    lines.append(
                        f"{text}: {metric} is {drop:.2f} points below {reference_label}; {points:g} are allowed."
                    )
    return lines


def _values(members: Sequence[RunResult], name: str, split: str = "test") -> list[float]:
    return [member.metrics[split][name] for member in members if name in member.metrics.get(split, {})]


def _cell(values: Sequence[float], reference: Sequence[float], formats: tuple[str, str, str]) -> str:
    """Return mean, standard deviation and difference to the reference, as far as there are any."""
    if not values:
        return "-"
    of_mean, of_deviation, of_difference = formats
    mean = statistics.fmean(values)
    deviation = f" ± {statistics.stdev(values):{of_deviation}}" if len(values) > 1 else ""
    difference = f" ({mean - statistics.fmean(reference):{of_difference}})" if reference else ""
    return f"{mean:{of_mean}}{deviation}{difference}"
