"""Numbers that others report, as the pages show them: beside our rows of the same method, or by themselves."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from ncbench.leaderboard.tables.board import Board, Comparable, DatasetTable, ReportedTable, Row


@dataclass(frozen=True)
class Reported:
    """A reported number as it is shown.

    Args:
        text: In per cent, with as many decimals as its source gives in the same column.
        detail: What the source gives after ±, and the number of seeds.
    """

    text: str
    detail: str


@dataclass(frozen=True)
class ComparedRow:
    """One line of a comparison with reported numbers.

    Args:
        method: Its name.
        group: Of our row; None where we have none.
        row: Ours; None where we have none.
        cells: One a reported table; None where it has no number.
    """

    method: str
    group: Comparable | None
    row: Row | None
    cells: tuple[Reported | None, ...]


@dataclass(frozen=True)
class Comparison:
    """Reported numbers of one dataset and one metric, beside ours."""

    metric: str
    tables: tuple[ReportedTable, ...]
    rows: tuple[ComparedRow, ...]

    def of(self, row: Row) -> Comparison | None:
        """Return the line of one row, and of the sources those that have a number of it; None if there is no line."""
        line = next((line for line in self.rows if line.row is row), None)
        if line is None:
            return None
        kept = [number for number, cell in enumerate(line.cells) if cell is not None]
        cells = tuple(line.cells[number] for number in kept)
        return Comparison(self.metric, tuple(self.tables[number] for number in kept), (replace(line, cells=cells),))


@dataclass(frozen=True)
class Uncompared:
    """What one source reports on datasets that have no records here: a row a method, a column a dataset."""

    table: ReportedTable
    datasets: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Reported | None, ...]], ...]


def comparisons(
    table: DatasetTable, reported: Sequence[ReportedTable], metrics: Iterable[str]
) -> tuple[Comparison, ...]:
    """Return the reported numbers of a dataset beside our rows of the same methods, a table for each metric."""
    by_metric: defaultdict[str, list[tuple[ReportedTable, dict[str, Reported]]]] = defaultdict(list)
    for source in reported:
        if numbers := _column(source, table.dataset.spec):
            by_metric[source.metric].append((source, numbers))
    found = []
    for metric in metrics:
        sources = by_metric.get(metric, [])
        rows = []
        for method in dict.fromkeys(method for _, numbers in sources for method in numbers):
            cells = tuple(numbers.get(method) for _, numbers in sources)
            ours: list[tuple[Comparable | None, Row | None]] = [
                (section, row)
                for section in table.sections
                for row in section.rows
                if row.method.name == method and metric in row.metrics
            ]
            rows += [ComparedRow(method, group, row, cells) for group, row in ours or [(None, None)]]
        if rows:
            found.append(Comparison(metric, tuple(source for source, _ in sources), tuple(rows)))
    return tuple(found)


def uncompared(board: Board) -> list[Uncompared]:
    """Return the reported numbers of datasets that have no records here."""
    ours = {table.dataset.spec for table in board.datasets}
    found = []
    for table in board.reported:
        datasets = tuple(dict.fromkeys(number.dataset for number in table.numbers if number.dataset not in ours))
        columns = [_column(table, dataset) for dataset in datasets]
        methods = dict.fromkeys(method for column in columns for method in column)
        if methods:
            rows = tuple((method, tuple(column.get(method) for column in columns)) for method in methods)
            found.append(Uncompared(table, datasets, rows))
    return found


def _column(table: ReportedTable, dataset: str) -> dict[str, Reported]:
    """Return what a source reports on one dataset: method -> number."""
    numbers = [number for number in table.numbers if number.dataset == dataset]
    decimals = max((len(repr(number.value).partition(".")[2]) for number in numbers), default=0)
    column = {}
    for number in numbers:
        spread = "" if number.spread is None else f"±{number.spread:.{decimals}f}"
        seeds = "" if number.seeds is None else f"({number.seeds})"
        column[number.method] = Reported(f"{number.value:.{decimals}f}", " ".join(filter(None, [spread, seeds])))
    return column
