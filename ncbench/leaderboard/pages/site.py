"""The pages: an index with a matrix of methods x datasets, one page a dataset, one page a method with its curves."""

from __future__ import annotations

import hashlib
import importlib.resources
import json
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import JsonValue

from ncbench.contracts.cards import MethodCard
from ncbench.leaderboard.intake.catalogue import Catalogue
from ncbench.leaderboard.intake.entry import Entry
from ncbench.leaderboard.intake.files import SITE
from ncbench.leaderboard.intake.problems import plain
from ncbench.leaderboard.intake.recompute import Sizes
from ncbench.leaderboard.pages import charts, libraries
from ncbench.leaderboard.pages.association import LEAST_METHODS, associations
from ncbench.leaderboard.pages.composition import composition, conflicts, same_means
from ncbench.leaderboard.pages.matrix import matrix
from ncbench.leaderboard.pages.remarks import parted
from ncbench.leaderboard.pages.reported import Comparison, comparisons, uncompared
from ncbench.leaderboard.pages.wording import (
    INTERVAL,
    VERDICTS,
    WORTH,
    Wording,
    data_version,
    epoch,
    interval_note,
    labels,
    labels_used,
    reproduction,
    reruns_beside,
    rule,
    standing,
)
from ncbench.leaderboard.tables.board import Board, DatasetTable, Row, Section
from ncbench.leaderboard.tables.remarks import is_frozen
from ncbench.records.intervals import MIN_SEEDS

if TYPE_CHECKING:
    from jinja2 import Environment

METHODS, DATASETS = "methods", "datasets"
"""Folders of the pages beside the index, so that no method's or dataset's name can take its place."""

LEAST_PAIRED = 6
"""Datasets from which on Wilcoxon's signed-rank test can reach 5%: with five the smallest p-value is 0.0625."""

NAMED = 3
"""Rows that a cell of what leads names beside the best."""

_STATIC = importlib.resources.files(__package__) / "static"
_LINK = re.compile(r"https://[^\s<>\"]+\Z")


@dataclass(frozen=True)
class Configuration:
    """One row of the board with all that its method's page shows of it."""

    table: DatasetTable
    section: Section
    row: Row
    ranked: int
    runs: tuple[Entry, ...]
    frozen: bool
    panels: tuple[charts.Panel, ...]
    compared: tuple[Comparison, ...]

    @property
    def charts(self) -> list[dict[str, Any]]:
        """What was measured over its epochs."""
        return [chart for panel in self.panels if (chart := charts.curves(panel, [run.history for run in self.runs]))]

    @property
    def seconds(self) -> float | None:
        """The median of its runs' seconds of training; None if they do not say."""
        return charts.seconds([run.history for run in self.runs])

    @property
    def devices(self) -> list[str]:
        """What its runs say they ran on."""
        return sorted({plain(str(run.record.environment.get("device", "?"))) for run in self.runs})

    @property
    def parameters(self) -> Mapping[str, JsonValue]:
        """The method's, with those that are not in its spec."""
        return self.runs[0].record.method.parameters


@dataclass(frozen=True)
class Method:
    """A method with rows: its card, if it is one of ncbench's own, and its rows in the order of the board."""

    name: str
    card: MethodCard | None
    configurations: Sequence[Configuration]

    @property
    def paper(self) -> str:
        """Where its paper is; empty if its card does not say."""
        found = _LINK.search(self.card.citation) if self.card else None
        return found[0] if found else ""

    @property
    def used(self) -> list[str]:
        """The labels that its rows used."""
        return sorted({labels(item.section) for item in self.configurations})

    @property
    def chosen_by(self) -> list[str]:
        """What rows chose by bias labels of validation images, which the method itself does not use."""
        if self.card is None or self.card.supervision.val == "bias":
            return []
        sections = [item.section for item in self.configurations if item.section.val == "bias"]
        return [
            *(["the epoch"] if any(section.selection != "last" for section in sections) else []),
            *(["settings"] if any(section.searched for section in sections) else []),
        ]

    @property
    def datasets(self) -> int:
        """On how many datasets it has rows."""
        return len({item.table.heading for item in self.configurations})

    @property
    def runs(self) -> int:
        """How many runs are behind its rows."""
        return sum(len(item.row.runs) for item in self.configurations)

    @property
    def reproduced(self) -> int:
        """How many of them somebody else has reproduced."""
        return sum(item.row.reproduced for item in self.configurations)


def render_site(board: Board, entries: Mapping[str, Entry], catalogue: Catalogue) -> dict[str, bytes]:
    """Render every page of a board.

    Args:
        board: The leaderboard.
        entries: Path of a record, as the board's rows name it -> the record.
        catalogue: The cards of methods, and the manifests of datasets.

    Returns:
        Path relative to the leaderboard folder -> content.

    Raises:
        NcbenchError: The libraries that the pages use are not there.
    """
    files = {f"{libraries.FOLDER}/{name}": content for name, content in libraries.read().items()}
    wording = Wording(board)
    environment = _environment(wording)
    histories = {path: entry.history for path, entry in entries.items()}
    compared = {table.heading: comparisons(table, board.reported, wording.measures) for table in board.datasets}
    methods = _methods(board, wording, compared, entries, catalogue)
    manifests = catalogue.manifests({table.dataset.name for table in board.datasets})
    samples = {name: _STATIC / "samples" / f"{name}.txt" for name in manifests}
    groups = {name: text.read_text("utf-8").splitlines() for name, text in samples.items() if text.is_file()}
    arranged = matrix(board)
    index = environment.get_template("index.html").render(
        root="",
        archive="../",
        board=board,
        matrix=arranged,
        associations=associations(arranged, histories),
        conflicts={table.heading: conflicts(_sizes(table, entries)) for table in board.datasets},
        inferences={
            name: card.summary
            for name in sorted({line.groups.partition(":")[0] for line in arranged.lines})
            for card in catalogue.own("groups", name)
        },
        methods=methods,
        uncompared=uncompared(board),
        rows=sum(len(method.configurations) for method in methods),
    )
    pages = {"index.html": index}
    for table in board.datasets:
        pages[f"{DATASETS}/{dataset_page(table)}.html"] = environment.get_template("dataset.html").render(
            root="../",
            archive="../../",
            table=table,
            manifest=manifests.get(table.dataset.name),
            groups=groups.get(table.dataset.name),
            compared=compared[table.heading],
            remarks=(remarks := parted(table, entries)),
            card=next(iter(catalogue.own("datasets", table.dataset.name)), None),
            composition=composition(sizes := _sizes(table, entries)),
            same=same_means(sizes["test"]),
            chart=charts.rows(table, wording, histories, remarks.frozen),
        )
    for method in methods:
        pages[f"{METHODS}/{method.name}.html"] = environment.get_template("method.html").render(
            root="../", archive="../../", method=method
        )
    own = ["board.js", "charts.js", "style.css", *(f"samples/{name}.png" for name in groups)]
    files |= {name: (_STATIC / name).read_bytes() for name in own}
    files |= {name: page.encode() for name, page in pages.items()}
    return {f"{SITE}/{name}": content for name, content in files.items()}


def _sizes(table: DatasetTable, entries: Mapping[str, Entry]) -> Mapping[str, Sizes]:
    """Return the groups of a table's splits, which are the same in all of its records."""
    return entries[table.sections[0].rows[0].runs[0].record].sizes


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
        estimate=wording.estimate,
        heading=wording.heading,
        columns=wording.columns,
        interval_note=interval_note,
        data_version=data_version,
        page=dataset_page,
        labels=labels,
        labels_used=labels_used,
        epoch=epoch,
        rule=rule,
        setting=_setting,
        reproduction=reproduction,
        beside=reruns_beside,
        standing=standing,
        probability=_probability,
        ranks_chart=charts.ranks,
    )
    environment.globals.update(
        MEASURES=wording.measures,
        INTERVAL=INTERVAL,
        WORTH=WORTH,
        VERDICTS=VERDICTS,
        MIN_SEEDS=MIN_SEEDS,
        LEAST_METHODS=LEAST_METHODS,
        LEAST_PAIRED=LEAST_PAIRED,
        NAMED=NAMED,
        METHODS=METHODS,
        DATASETS=DATASETS,
        LIBRARIES=libraries.FOLDER,
    )
    return environment


def _setting(value: JsonValue) -> str:
    """Return a key or a value of a recipe, of which nothing is known but that it is JSON."""
    return plain(value if isinstance(value, str) else json.dumps(value, ensure_ascii=True))


def _probability(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"= {value:.3f}"


def dataset_page(table: DatasetTable) -> str:
    """Return the name of a dataset's page: readable, and unique."""
    return f"{table.dataset.name}-{hashlib.sha256(table.heading.encode()).hexdigest()[:8]}"


def _methods(
    board: Board,
    wording: Wording,
    compared: Mapping[str, tuple[Comparison, ...]],
    entries: Mapping[str, Entry],
    catalogue: Catalogue,
) -> list[Method]:
    """Return every method that has rows, in the order of their names."""
    found: defaultdict[str, list[Configuration]] = defaultdict(list)
    for table in board.datasets:
        for section in table.sections:
            ranked = sum(row.rank is not None for row in section.rows)
            for row in section.rows:
                runs = tuple(entries[run.record] for run in row.runs)
                frozen = any(is_frozen(run.record) for run in runs)
                found[row.method.name].append(
                    Configuration(
                        table=table,
                        section=section,
                        row=row,
                        ranked=ranked,
                        runs=runs,
                        frozen=frozen,
                        panels=charts.panels(table.primary_metric, wording.heading, frozen),
                        compared=tuple(line for part in compared[table.heading] if (line := part.of(row))),
                    )
                )
    return [
        Method(name, next(iter(catalogue.own("methods", name)), None), configurations)
        for name, configurations in sorted(found.items())
    ]
