"""Methods x datasets: one value for each, of rows that share a backbone and a number of epochs in a column."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from ncbench.leaderboard.tables.board import Board, DatasetTable, Row, Section
from ncbench.leaderboard.tables.overview import preference

Who = tuple[str, str, str]
"""Name and distribution of a method, and what inferred its groups; whatever its parameters."""

Place = tuple[tuple[str | bool, ...], Who]
"""Which labels and rules, and who."""


@dataclass(frozen=True)
class Column:
    """A dataset as several methods were run on it."""

    table: DatasetTable
    backbone: str
    epochs: int


@dataclass(frozen=True)
class Line:
    """A method, with the labels and rules of `section`, on every column; None where it has no ranked row."""

    method: str
    groups: str
    section: Section
    cells: tuple[Row | None, ...]


@dataclass(frozen=True)
class Matrix:
    """A column for each dataset and a line for each method, with each group of labels and rules."""

    columns: tuple[Column, ...]
    lines: tuple[Line, ...]


def matrix(board: Board) -> Matrix:
    """Arrange the ranked rows of a board; which row stands for a method never depends on a result.

    A dataset has a column for each backbone and number of epochs that two methods or more share; if no two share any,
    it has one, of the most epochs. Columns with more methods go first.
    """
    columns: list[tuple[Column, dict[Place, Row]]] = []
    sections: dict[tuple[str | bool, ...], Section] = {}
    for table in board.datasets:
        found: defaultdict[tuple[int, str], dict[Place, Row]] = defaultdict(dict)
        ranked = [(section, row) for section in table.sections for row in section.rows if row.rank is not None]
        for section, row in sorted(ranked, key=lambda pair: preference(pair[1])):
            sections.setdefault(_key(section), section)
            found[row.epochs, row.backbone.spec].setdefault((_key(section), _who(row)), row)
        kinds = [kind for kind in found if len(found[kind]) > 1] or sorted(found)[-1:]
        columns += [(Column(table, backbone, epochs), found[epochs, backbone]) for epochs, backbone in sorted(kinds)]
    columns.sort(key=lambda column: -len(column[1]))
    lines = [
        Line(who[0], who[2], sections[key], tuple(rows.get((key, who)) for _, rows in columns))
        for key, who in sorted({place for _, rows in columns for place in rows})
    ]
    return Matrix(tuple(column for column, _ in columns), tuple(lines))


def _key(section: Section) -> tuple[str | bool, ...]:
    """Return what tells a group of labels and rules from others; those with the least help go first."""
    return section.searched, section.hierarchy, section.val == "bias", section.train == "bias", section.selection


def _who(row: Row) -> Who:
    return row.method.name, row.method.distribution, row.groups
