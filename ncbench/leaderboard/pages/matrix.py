"""Methods x datasets: one value for each, of rows that share a backbone and a number of epochs in a column."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from ncbench.leaderboard.tables.board import Board, Comparable, DatasetTable, Row, Section
from ncbench.leaderboard.tables.overview import preference
from ncbench.leaderboard.tables.rows import BASELINE
from ncbench.records.intervals import half_width

Who = tuple[str, str, str]
"""Name and distribution of a method, and what inferred its groups; whatever its parameters."""

Labels = tuple[bool, bool, bool]
"""Whether the class hierarchy, and the bias attribute of training and of validation images, are used."""

Rule = tuple[str, str]
"""How settings were searched, and how the epoch was chosen."""

Place = tuple[Rule, Labels, Who]
"""By which rules and with which labels, and who; the least help goes first."""


@dataclass(frozen=True)
class Column:
    """A dataset as several methods were run on it."""

    table: DatasetTable
    backbone: str
    epochs: int
    seeds: tuple[int, int]


@dataclass(frozen=True)
class Line:
    """A method, with the labels and rules of `section`, on every column; None where it has no ranked row.

    `unranked` has the row that does not rank, where there is only such a one.
    """

    method: str
    groups: str
    section: Section
    cells: tuple[Row | None, ...]
    unranked: tuple[Row | None, ...]

    @property
    def spec(self) -> str:
        """The method's spec where it is the same on every column, else its name."""
        specs = {row.method.spec for row in self.cells if row is not None}
        return specs.pop() if len(specs) == 1 else self.method


@dataclass(frozen=True)
class Lead:
    """The best of some rows, those that are not told apart from it, and how many rows there are.

    Those that are not told apart from the best are parted: `near` are better than erm for sure, `unsure` are erm and
    what is not. Of rows that are equal in every number the first stands for all, and `same` has the others, by its id.
    """

    best: Row
    near: tuple[Row, ...]
    unsure: tuple[Row, ...]
    of: int
    same: Mapping[str, Sequence[Row]]

    @property
    def first(self) -> Row:
        """The row to name first: the best, unless that only scatters and another is better than erm for sure."""
        return self.best if self._leads or not self.near else self.near[0]

    @property
    def beside(self) -> tuple[Row, ...]:
        """Those of `near` that are not named first."""
        return tuple(row for row in self.near if row is not self.first)

    @property
    def bold(self) -> tuple[Row, ...]:
        """The rows that lead: what scatters so widely that nothing tells it from the best does not."""
        rows = (self.best, *self.near) if self._leads else self.near
        return tuple(equal for row in rows for equal in (row, *self.same[row.id]))

    @property
    def _leads(self) -> bool:
        return _is_erm(self.best) or beats_erm(self.best)


@dataclass(frozen=True)
class Leads:
    """What leads in a column by one rule: for each of the labels that the matrix has, and erm beside them."""

    column: Column
    section: Section
    baseline: Row | None
    cells: tuple[Lead | None, ...]


@dataclass(frozen=True)
class Matrix:
    """A column for each dataset and a line for each method, with each group of labels and rules.

    `labels` are the groups of labels alone, of which `leads` has a cell each, where any has two rows to compare;
    `leading` are the ids of the rows that lead in any.
    """

    columns: tuple[Column, ...]
    lines: tuple[Line, ...]
    labels: tuple[Comparable, ...]
    leads: tuple[Leads, ...]

    @property
    def inferred(self) -> bool:
        """Whether any line trains on groups that were inferred."""
        return any(line.groups for line in self.lines)

    @property
    def leading(self) -> frozenset[str]:
        """The ids of the rows that lead."""
        return frozenset(row.id for line in self.leads for lead in line.cells if lead for row in lead.bold)


def matrix(board: Board) -> Matrix:
    """Arrange the ranked rows of a board; which row stands for a method never depends on a result.

    A dataset has a column for each backbone and number of epochs that two methods or more share; if no two share any,
    it has one, of the most epochs. Columns with more methods go first, those of data that were replaced last: nothing
    leads on these.
    """
    columns: list[tuple[Column, dict[Place, Row], dict[Place, Row]]] = []
    sections: dict[tuple[Rule, Labels], Section] = {}
    for table in board.datasets:
        ranked: defaultdict[tuple[int, str], dict[Place, Row]] = defaultdict(dict)
        others: defaultdict[tuple[int, str], dict[Place, Row]] = defaultdict(dict)
        every = [(section, row) for section in table.sections for row in section.rows]
        for section, row in sorted(every, key=lambda pair: preference(pair[1])):
            rule, labels = _rule(section), _labels(section)
            sections.setdefault((rule, labels), section)
            alike = (others if row.rank is None else ranked)[row.epochs, row.backbone.spec]
            alike.setdefault((rule, labels, _who(row)), row)
        kinds = [kind for kind in ranked if len(ranked[kind]) > 1] or sorted(ranked)[-1:]
        for epochs, backbone in sorted(kinds):
            rows = ranked[epochs, backbone]
            seeds = [len(row.runs) for row in rows.values()]
            column = Column(table, backbone, epochs, (min(seeds), max(seeds)))
            columns.append((column, rows, others[epochs, backbone]))
    columns.sort(key=lambda column: (column[0].table.replaced, -len(column[1])))
    places = sorted({place for _, rows, _ in columns for place in rows})
    lines = [
        Line(
            method=who[0],
            groups=who[2],
            section=sections[rule, labels],
            cells=tuple(rows.get((rule, labels, who)) for _, rows, _ in columns),
            unranked=tuple(rows.get((rule, labels, who)) for *_, rows in columns),
        )
        for rule, labels, who in places
    ]
    by_labels = {labels: sections[rule, labels] for rule, labels, _ in sorted(places, key=lambda place: place[1])}
    leads = [
        _leads(column, rows, rule, list(by_labels), sections)
        for column, rows, _ in columns
        if not column.table.replaced
        for rule in sorted({rule for rule, *_ in rows})
    ]
    leads = [line for line in leads if any(lead and lead.of > 1 for lead in line.cells)]
    return Matrix(tuple(column for column, *_ in columns), tuple(lines), tuple(by_labels.values()), tuple(leads))


def _leads(
    column: Column,
    rows: Mapping[Place, Row],
    rule: Rule,
    labels: Iterable[Labels],
    sections: Mapping[tuple[Rule, Labels], Section],
) -> Leads:
    metric = column.table.primary_metric
    by_labels: defaultdict[Labels, list[Row]] = defaultdict(list)
    for (its_rule, its_labels, _), row in rows.items():
        if its_rule == rule:
            by_labels[its_labels].append(row)
    erm = [row for members in by_labels.values() for row in members if _is_erm(row)]
    cells = [_lead(by_labels[each], metric) if each in by_labels else None for each in labels]
    return Leads(column, sections[rule, min(by_labels)], min(erm, key=preference, default=None), tuple(cells))


def _lead(rows: Iterable[Row], metric: str) -> Lead:
    """Return the best of ranked rows, and those that are not told apart from it."""
    alike: defaultdict[object, list[Row]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: (not _is_erm(row), bool(row.groups), row.label)):
        alike[row.numbers].append(row)
    first = [members[0] for members in alike.values()]
    best, *others = sorted(first, key=lambda row: (-row.metrics[metric].mean, row.id))
    level = [row for row in others if not _told_apart(best, row, metric)]
    return Lead(
        best,
        tuple(row for row in level if beats_erm(row)),
        tuple(row for row in level if not beats_erm(row)),
        len(first),
        {members[0].id: members[1:] for members in alike.values()},
    )


def beats_erm(row: Row) -> bool:
    """Whether the row is told apart from the one of erm that it is compared with, for the better.

    So is a row, other than erm's own, that there is none to compare with.
    """
    if row.versus_erm is None:
        return not _is_erm(row)
    return row.versus_erm.difference.low is not None and row.versus_erm.difference.low > 0


def _is_erm(row: Row) -> bool:
    return row.method.name == BASELINE and not row.groups


def _told_apart(one: Row, other: Row, metric: str) -> bool:
    """Whether the 95% interval of their mean difference, seed by seed, is clear of zero.

    Two intervals may overlap where this one is clear, as the same seeds are easy or hard for both. Rows that share too
    few seeds for an interval are not told apart.
    """
    theirs = {run.seed: run.metrics[metric] for run in other.runs}
    differences = [run.metrics[metric] - theirs[run.seed] for run in one.runs if run.seed in theirs]
    half = half_width(differences)
    return half is not None and abs(fmean(differences)) > half


def _rule(section: Section) -> Rule:
    return section.searched, section.selection


def _labels(section: Section) -> Labels:
    return section.hierarchy, section.train == "bias", section.val == "bias"


def _who(row: Row) -> Who:
    return row.method.name, row.method.distribution, row.groups
