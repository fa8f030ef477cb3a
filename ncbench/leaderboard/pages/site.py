"""The pages: ``index.html`` with every table, and one page a method with its runs and their curves."""

from __future__ import annotations

import hashlib
import importlib.resources
import json
import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import JsonValue

from ncbench.leaderboard.intake.files import SITE
from ncbench.leaderboard.intake.problems import plain
from ncbench.leaderboard.pages import charts, diagram
from ncbench.leaderboard.pages.reported import Comparison, comparisons, uncompared
from ncbench.leaderboard.pages.wording import (
    INTERVAL,
    VERDICTS,
    WORTH,
    Wording,
    data_version,
    interval_note,
    labels_used,
    reproduction,
    reruns_beside,
)
from ncbench.leaderboard.tables.board import Board, Comparable, DatasetTable, Row, Section
from ncbench.leaderboard.tables.curves import History
from ncbench.records.intervals import MIN_SEEDS

if TYPE_CHECKING:
    from jinja2 import Environment

METHODS = "methods"
"""Folder of the method pages: apart from the index, so that no method's name can take its place."""


@dataclass(frozen=True)
class Configuration:
    """One row of the board with all that its method's page shows of it."""

    table: DatasetTable
    section: Section
    row: Row
    ranked: int
    charts: tuple[charts.Chart, ...]
    compared: tuple[Comparison, ...]


def render_site(board: Board, histories: Mapping[str, History]) -> dict[str, bytes]:
    """Render every page of a board.

    Args:
        board: The leaderboard.
        histories: Path of a record, as the board's rows name it -> what is drawn of it.

    Returns:
        Path relative to the leaderboard folder -> content.
    """
    wording = Wording(board)
    environment = _environment(wording)
    compared = {table.heading: comparisons(table, board.reported, wording.measures) for table in board.datasets}
    index = environment.get_template("index.html").render(
        root="",
        archive="../",
        board=board,
        compared=compared,
        uncompared=uncompared(board),
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
    for name, configurations in sorted(_configurations(board, wording, compared, histories).items()):
        pages[f"{METHODS}/{name}.html"] = template.render(
            root="../", archive="../../", name=name, summary=summaries.get(name), configurations=configurations
        ).encode()
    static = importlib.resources.files(__package__) / "static"
    pages |= {name: (static / name).read_bytes() for name in ("board.js", "style.css")}
    return {f"{SITE}/{name}": content for name, content in pages.items()}


def _environment(wording: Wording) -> Environment:
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
        shown=wording.shown,
        margin=wording.margin,
        heading=wording.heading,
        columns=wording.columns,
        interval_note=interval_note,
        data_version=data_version,
        anchor=_anchor,
        labels_key=_labels_key,
        labels_used=labels_used,
        setting=_setting,
        reproduction=reproduction,
        beside=reruns_beside,
        probability=_probability,
    )
    environment.globals.update(
        MEASURES=wording.measures,
        INTERVAL=INTERVAL,
        WORTH=WORTH,
        VERDICTS=VERDICTS,
        MIN_SEEDS=MIN_SEEDS,
        METHODS=METHODS,
        chart=charts,
        axes=diagram,
    )
    return environment


def _setting(value: JsonValue) -> str:
    """Return a key or a value of a recipe, of which nothing is known but that it is JSON."""
    return plain(value if isinstance(value, str) else json.dumps(value, ensure_ascii=True))


def _probability(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"= {value:.3f}"


def _anchor(spec: str) -> str:
    """Return an id for a dataset: readable, unique, and free of the '=' by which the script tells filters."""
    return f"{spec.partition(':')[0]}-{hashlib.sha256(spec.encode()).hexdigest()[:8]}"


def _labels_key(group: Comparable | None) -> str:
    """Return what identifies a group in the page's address; empty for a row that is not ours."""
    if group is None:
        return ""
    used = [split for split in ("train", "val") if getattr(group, split) == "bias"]
    searched = [re.sub(r"\W+", "-", group.searched)] if group.searched else []
    return "-".join([*(used or ["targets"]), *(["hierarchy"] if group.hierarchy else []), group.selection, *searched])


def _groups(board: Board) -> list[tuple[str, str]]:
    """Return (key, text) of every combination of labels used, selection rule and search."""
    found = {
        _labels_key(section): f"{labels_used(section)}; {section.selection}"
        for table in board.datasets
        for section in table.sections
    }
    return sorted(found.items(), key=lambda item: item[1])


def _method_names(board: Board) -> list[str]:
    ours = {row.method.name for table in board.datasets for section in table.sections for row in section.rows}
    return sorted(ours | {number.method for table in board.reported for number in table.numbers})


def _configurations(
    board: Board,
    wording: Wording,
    compared: Mapping[str, tuple[Comparison, ...]],
    histories: Mapping[str, History],
) -> dict[str, list[Configuration]]:
    """Return the rows of every method, in the order of the board."""
    found: defaultdict[str, list[Configuration]] = defaultdict(list)
    for table in board.datasets:
        panels = charts.panels(table.primary_metric, wording.heading)
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
                        compared=tuple(line for part in compared[table.heading] if (line := part.of(row))),
                    )
                )
    return found
