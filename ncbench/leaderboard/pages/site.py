"""The pages: ``index.html`` with every table, and one page a method with its runs and their curves."""

from __future__ import annotations

import functools
import hashlib
import importlib.resources
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import JsonValue

from ncbench.leaderboard.intake.files import SITE
from ncbench.leaderboard.intake.problems import plain
from ncbench.leaderboard.pages import charts, diagram
from ncbench.leaderboard.pages.wording import (
    INTERVAL,
    MEASURES,
    heading,
    interval_note,
    labels_used,
    margin,
    shown,
    shown_metrics,
)
from ncbench.leaderboard.tables.board import (
    Board,
    Comparable,
    DatasetTable,
    ReportedTable,
    Row,
    Section,
)
from ncbench.leaderboard.tables.curves import History
from ncbench.leaderboard.tables.intervals import MIN_SEEDS
from ncbench.leaderboard.tables.overview import LEAST_DATASETS, LEAST_METHODS

if TYPE_CHECKING:
    from jinja2 import Environment

METHODS = "methods"
"""Folder of the method pages: apart from the index, so that no method's name can take its place."""


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
class BesideRow:
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
class Beside:
    """Reported numbers of one dataset and one metric, beside ours."""

    metric: str
    tables: tuple[ReportedTable, ...]
    rows: tuple[BesideRow, ...]


@dataclass(frozen=True)
class Elsewhere:
    """What one source reports on datasets that have no records here: a row a method, a column a dataset."""

    table: ReportedTable
    datasets: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Reported | None, ...]], ...]


@dataclass(frozen=True)
class Configuration:
    """One row of the board with all that its method's page shows of it."""

    table: DatasetTable
    section: Section
    row: Row
    ranked: int
    charts: tuple[charts.Chart, ...]
    beside: tuple[Beside, ...]


def render_site(board: Board, histories: Mapping[str, History]) -> dict[str, bytes]:
    """Render every page of a board.

    Args:
        board: The leaderboard.
        histories: Path of a record, as the board's rows name it -> what is drawn of it.

    Returns:
        Path relative to the leaderboard folder -> content.
    """
    environment = _environment()
    beside = {table.dataset.spec: _beside(table, board.reported) for table in board.datasets}
    index = environment.get_template("index.html").render(
        root="",
        archive="../",
        board=board,
        beside=beside,
        elsewhere=_elsewhere(board),
        groups=_groups(board),
        methods=_method_names(board),
        rows=sum(len(section.rows) for table in board.datasets for section in table.sections),
        diagrams=[
            None if overview.test is None else diagram.draw(overview.methods, overview.test)
            for overview in board.overviews
        ],
    )
    pages = {"index.html": index.encode()}
    summaries = {summary.name: summary for summary in board.methods}
    template = environment.get_template("method.html")
    for name, configurations in sorted(_configurations(board, beside, histories).items()):
        pages[f"{METHODS}/{name}.html"] = template.render(
            root="../", archive="../../", name=name, summary=summaries.get(name), configurations=configurations
        ).encode()
    static = importlib.resources.files(__package__) / "static"
    pages |= {name: (static / name).read_bytes() for name in ("board.js", "style.css")}
    return {f"{SITE}/{name}": content for name, content in pages.items()}


@functools.cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined  # here: only a build renders pages

    environment = Environment(
        loader=PackageLoader(__package__),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(
        shown=shown,
        margin=margin,
        heading=heading,
        interval_note=interval_note,
        anchor=_anchor,
        labels_key=_labels_key,
        labels_used=labels_used,
        shown_metrics=shown_metrics,
        setting=_setting,
    )
    environment.globals.update(
        MEASURES=MEASURES,
        INTERVAL=INTERVAL,
        MIN_SEEDS=MIN_SEEDS,
        LEAST_METHODS=LEAST_METHODS,
        LEAST_DATASETS=LEAST_DATASETS,
        METHODS=METHODS,
        chart=charts,
    )
    return environment


def _setting(value: JsonValue) -> str:
    """Return a key or a value of a recipe, of which nothing is known but that it is JSON."""
    return plain(value if isinstance(value, str) else json.dumps(value, ensure_ascii=True))


def _anchor(spec: str) -> str:
    """Return an id for a dataset: readable, unique, and free of the '=' by which the script tells filters."""
    return f"{spec.partition(':')[0]}-{hashlib.sha256(spec.encode()).hexdigest()[:8]}"


def _labels_key(group: Comparable | None) -> str:
    """Return what identifies a group in the page's address; empty for a row that is not ours."""
    if group is None:
        return ""
    used = [split for split in ("train", "val") if getattr(group, split) == "bias"]
    return "-".join([*(used or ["targets"]), *(["hierarchy"] if group.hierarchy else []), group.selection])


def _groups(board: Board) -> list[tuple[str, str]]:
    """Return (key, text) of every combination of labels used and selection rule."""
    found = {
        _labels_key(section): f"{labels_used(section)}; {section.selection}"
        for table in board.datasets
        for section in table.sections
    }
    return sorted(found.items(), key=lambda item: item[1])


def _method_names(board: Board) -> list[str]:
    ours = {row.method.name for table in board.datasets for section in table.sections for row in section.rows}
    return sorted(ours | {number.method for table in board.reported for number in table.numbers})


def _beside(table: DatasetTable, reported: Sequence[ReportedTable]) -> tuple[Beside, ...]:
    """Return the reported numbers of a dataset beside our rows of the same methods, a table for each metric."""
    by_metric: defaultdict[str, list[tuple[ReportedTable, dict[str, Reported]]]] = defaultdict(list)
    for source in reported:
        if numbers := _column(source, table.dataset.spec):
            by_metric[source.metric].append((source, numbers))
    found = []
    for metric in MEASURES:
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
            rows += [BesideRow(method, group, row, cells) for group, row in ours or [(None, None)]]
        if rows:
            found.append(Beside(metric, tuple(source for source, _ in sources), tuple(rows)))
    return tuple(found)


def _elsewhere(board: Board) -> list[Elsewhere]:
    """Return the reported numbers of datasets that have no records here."""
    ours = {table.dataset.spec for table in board.datasets}
    found = []
    for table in board.reported:
        datasets = tuple(dict.fromkeys(number.dataset for number in table.numbers if number.dataset not in ours))
        columns = [_column(table, dataset) for dataset in datasets]
        methods = dict.fromkeys(method for column in columns for method in column)
        if methods:
            rows = tuple((method, tuple(column.get(method) for column in columns)) for method in methods)
            found.append(Elsewhere(table, datasets, rows))
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


def _configurations(
    board: Board, beside: Mapping[str, Sequence[Beside]], histories: Mapping[str, History]
) -> dict[str, list[Configuration]]:
    """Return the rows of every method, in the order of the board."""
    found: defaultdict[str, list[Configuration]] = defaultdict(list)
    for table in board.datasets:
        panels = charts.panels(table.primary_metric, heading(table.primary_metric))
        for section in table.sections:
            ranked = sum(row.rank is not None for row in section.rows)
            for row in section.rows:
                runs = [histories[run.record] for run in row.runs]
                found[row.method.name].append(
                    Configuration(
                        table=table,
                        section=section,
                        row=row,
                        ranked=ranked,
                        charts=tuple(chart for panel in panels if (chart := charts.draw(panel, runs))),
                        beside=tuple(_only(part, row) for part in beside[table.dataset.spec] if _names(part, row)),
                    )
                )
    return found


def _names(part: Beside, row: Row) -> bool:
    return any(line.row is row for line in part.rows)


def _only(part: Beside, row: Row) -> Beside:
    """Return the line of one row, and of the sources those that have a number of it."""
    line = next(line for line in part.rows if line.row is row)
    kept = [(table, cell) for table, cell in zip(part.tables, line.cells, strict=True) if cell is not None]
    cells = tuple(cell for _, cell in kept)
    return Beside(
        part.metric, tuple(table for table, _ in kept), (BesideRow(line.method, line.group, line.row, cells),)
    )
