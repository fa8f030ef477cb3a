"""Runs side by side, printed: means over seeds, and the difference to the first configuration on the same data."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

from rich.cells import cell_len
from rich.table import Table

from ncbench.cli.tables.result import mean_text, numbers_table
from ncbench.cli.terminal import text_console
from ncbench.contracts.cards import Measure
from ncbench.contracts.errors import counted
from ncbench.discovery.registry import registry
from ncbench.records.archive import RunResult
from ncbench.records.comparison import by_data, chosen_measures, compared_split, describe_choice, values_of

_GAP = 2  # cells between two columns


def print_comparison(results: Sequence[RunResult], metrics: Sequence[str] = ()) -> None:
    """Print one column a configuration: mean and standard deviation over seeds, and differences to the first.

    Of the metrics that are named, or of all that tables show.

    Configurations on different data have tables of their own, each with its own first configuration. A table that is
    wider than the terminal goes on below itself.
    """
    console = text_console()
    measures = chosen_measures(metrics) or registry().shown_measures()
    data = by_data(results)
    numbers = itertools.count(1)
    for position, grouped in enumerate(data):
        if position:
            console.print()
        headings = [f"[{next(numbers)}]" for _ in grouped]
        for heading, (text, members) in zip(headings, grouped.items(), strict=True):
            seeds = len({member.record.seed for member in members})
            runs = counted(len(members), "run")
            if seeds < len(members):  # as of several machines, or of data that changed on the way
                runs += f" of {counted(seeds, 'seed')}"
            statuses = ", ".join(sorted({member.status for member in members}))
            choice = describe_choice([member.record for member in members])
            console.print(f"{heading} {text}: {', '.join([runs, statuses, *([choice] if choice else [])])}")
        tables = _tables(measures, headings, list(grouped.values()), console.width)
        for table in tables:
            console.print(table)
        if not tables:
            console.print("No metrics yet: no evaluation was finished.")
    if any(len(members) > 1 for grouped in data for members in grouped.values()):
        console.print("\n±: standard deviation over the runs.")
    if len(data) > 1:
        console.print(
            "\nRuns on different data, or on different versions of them, are in tables of their own: no difference is "
            "taken between them."
        )


def _tables(
    measures: Mapping[str, Measure],
    headings: Sequence[str],
    configurations: Sequence[Sequence[RunResult]],
    width: int,
) -> list[Table]:
    """Return the table of some configurations, in as many parts as the width asks for; none if none has metrics."""
    rows = [("metric", *headings)]
    for name, measure in measures.items():
        split = compared_split(name, measure, configurations)
        if split is not None:
            first, *others = (values_of(members, name, split) for members in configurations)
            unit = " (%)" if measure.unit == "%" else ""
            cells = [mean_text(measure, first), *(mean_text(measure, values, first) for values in others)]
            rows.append((f"{name}{unit}, {split}", *cells))
    if len(rows) == 1:
        return []
    names, *columns = zip(*rows, strict=True)
    parts: list[list[Sequence[str]]] = []
    room = 0
    for column in columns:
        taken = _GAP + max(map(cell_len, column))
        if taken > room:
            parts.append([names])
            room = width - max(map(cell_len, names))
        parts[-1].append(column)
        room -= taken
    return [numbers_table(*zip(*part, strict=True)) for part in parts]
