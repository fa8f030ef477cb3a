"""Runs side by side, printed: means over seeds, and the difference to the first configuration on the same data."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from rich.cells import cell_len
from rich.markup import escape
from rich.table import Table

from ncbench.cli.tables.result import shown_measures
from ncbench.cli.terminal import text_console
from ncbench.contracts.cards import Measure
from ncbench.contracts.errors import counted
from ncbench.records.archive import RunResult
from ncbench.records.comparison import by_data, values_of

_GAP = 2  # cells between two columns


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
    for name, measure in shown_measures().items():
        split = _compared_split(name, measure, configurations)
        if split is None:
            continue
        values = [[measure.scale * value for value in values_of(members, name, split)] for members in configurations]
        names.append(f"{name}{' (%)' if measure.unit == '%' else ''}, {split}")
        for position, column in enumerate(columns):
            column.append(_cell(values[position], values[0] if position else [], _formats(measure)))
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


def _compared_split(name: str, measure: Measure, configurations: Sequence[Sequence[RunResult]]) -> str | None:
    """The split whose numbers are compared: the test split where they are of it, or else that which has any."""
    splits = [split for split in ("test", "val", "train") if split in measure.splits]
    return next((split for split in splits if any(values_of(each, name, split) for each in configurations)), None)


def _formats(measure: Measure) -> tuple[str, str, str]:
    """Formats of a mean, of a deviation, and of a difference."""
    if measure.unit != "%" or measure.decimals is None:
        return ".4g", ".2g", "+.3g"
    return f".{measure.decimals}f", f".{measure.decimals}f", f"+.{measure.decimals}f"


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


def _cell(values: Sequence[float], reference: Sequence[float], formats: tuple[str, str, str]) -> str:
    """Return mean, standard deviation and difference to the reference, as far as there are any."""
    if not values:
        return "-"
    of_mean, of_deviation, of_difference = formats
    mean = statistics.fmean(values)
    deviation = f" ± {statistics.stdev(values):{of_deviation}}" if len(values) > 1 else ""
    difference = f" ({mean - statistics.fmean(reference):{of_difference}})" if reference else ""
    return f"{mean:{of_mean}}{deviation}{difference}"
