"""Methods x datasets: one value for each, of rows that share a backbone and a number of epochs in a column."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass

from ncbench.leaderboard.tables.board import Board, DatasetTable, Row, Section
from ncbench.leaderboard.tables.overview import preference

Who = tuple[str, str, str]
"""Name and distribution of a method, and what inferred its groups; whatever its parameters."""


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
    """The columns in the order of the board, and a line for each method and each group of labels and rules."""

    columns: tuple[Column, ...]
    lines: tuple[Line, ...]


def matrix(board: Board) -> Matrix:
    """Arrange the ranked rows of a board; which row stands for a method never depends on a result.

    A dataset has a column for each backbone and number of epochs that two methods or more share, those that most share
    first; one that no two share has the column of its most common.
    """
    columns: list[Column] = []
    cells: defaultdict[tuple[tuple[str | bool, ...], Who], dict[int, Row]] = defaultdict(dict)
    sections: dict[tuple[str | bool, ...], Section] = {}
    for table in board.datasets:
        ranked = [(section, row) for section in table.sections for row in section.rows if row.rank is not None]
        users = Counter(
            kind for kind, _, _ in {((row.backbone.spec, row.epochs), _key(s), _who(row)) for s, row in ranked}
        )
        kinds = sorted(users, key=lambda kind: (-users[kind], -kind[1], kind[0]))
        for backbone, epochs in [kind for kind in kinds if users[kind] > 1] or kinds[:1]:
            for section, row in sorted(ranked, key=lambda pair: preference(pair[1])):
                if (row.backbone.spec, row.epochs) == (backbone, epochs):
                    sections.setdefault(_key(section), section)
                    cells[_key(section), _who(row)].setdefault(len(columns), row)
            columns.append(Column(table, backbone, epochs))
    lines = [
        Line(who[0], who[2], sections[key], tuple(map(found.get, range(len(columns)))))
        for (key, who), found in sorted(cells.items(), key=lambda item: item[0])
    ]
    return Matrix(tuple(columns), tuple(lines))


def _key(section: Section) -> tuple[str | bool, ...]:
    """Return what tells a group of labels and rules from others; those with the least help go first."""
    return section.searched, section.hierarchy, section.val == "bias", section.train == "bias", section.selection


def _who(row: Row) -> Who:
    return row.method.name, row.method.distribution, row.groups
