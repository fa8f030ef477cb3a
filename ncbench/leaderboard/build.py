"""From the archive's files to the board: pure, and the same bytes on every machine."""

from __future__ import annotations

import contextlib
import gc
import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from ncbench.contracts.files import write_atomically
from ncbench.leaderboard.intake.canonical import content_hash
from ncbench.leaderboard.intake.catalogue import BUILT_IN, Catalogue
from ncbench.leaderboard.intake.consistency import settle
from ncbench.leaderboard.intake.entry import Entry, Named, inspect
from ncbench.leaderboard.intake.files import Located, find_files, make_folders, read_file, require_board
from ncbench.leaderboard.intake.problems import Problem, RefusedError, plain
from ncbench.leaderboard.pages.markdown import render
from ncbench.leaderboard.pages.site import render_site
from ncbench.leaderboard.pages.wording import MEASURES
from ncbench.leaderboard.tables.board import (
    Board,
    DatasetTable,
    Estimate,
    Left,
    MethodSummary,
    Paired,
    Plugin,
    ReportedTable,
    Row,
    Section,
    Source,
)
from ncbench.leaderboard.tables.intervals import MIN_SEEDS, half_width, mean
from ncbench.leaderboard.tables.overview import overviews
from ncbench.leaderboard.tables.reported import read_reported

Key = TypeVar("Key", str, tuple[tuple[str, str, bool], str])

BASELINE = "erm"
DIGITS = 6
"""Decimals kept. The last bits of a t quantile are the machine's; six decimals of a fraction are not."""


@dataclass(frozen=True)
class Archive:
    """What was read of the records.

    Args:
        board: The leaderboard folder.
        catalogue: The cards the records were compared with.
        located: Every file whose path is right.
        entries: The valid records among them.
        problems: Why other files are not.
    """

    board: Path
    catalogue: Catalogue
    located: Sequence[Located]
    entries: Sequence[Entry]
    problems: Sequence[Problem]


def read_archive(board: Path, catalogue: Catalogue, datasets: Collection[str] | None = None) -> Archive:
    """Read and inspect the records of a leaderboard folder; one that is refused does not keep the others out.

    Args:
        board: The leaderboard folder.
        catalogue: The cards to compare with.
        datasets: Only read these; None for all.

    Raises:
        ConfigurationError: The folder is no leaderboard.
    """
    require_board(board)
    located, problems = find_files(board, datasets)
    entries: list[Entry] = []
    with _uncollected():
        for file in located:
            try:
                entries.append(_read_entry(file, catalogue))
            except RefusedError as error:
                problems.append(Problem(file.relative, error.field, error.reason))
    return Archive(board, catalogue, located, entries, problems)


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    """Suspend the collector of reference cycles: records have none, and it would look through each one many times."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _read_entry(file: Located, catalogue: Catalogue) -> Entry:
    data = read_file(file.path)
    digest = content_hash(data)
    if digest != file.digest:
        raise RefusedError("", f"its content has the hash {digest}: it was changed, or never had this name")
    entry = inspect(data, catalogue)
    for field, found, expected in (
        ("dataset.name", entry.dataset.name, file.dataset),
        ("method.name", entry.method.name, file.method),
    ):
        if found != expected:
            raise RefusedError(field, f"it is {found!r}, but the file lies under {expected!r}")
    return entry


def build_board(archive: Archive, reported: Sequence[ReportedTable]) -> Board:
    """Compute the board from what was read; a pure function of its arguments.

    Args:
        archive: The records.
        reported: Numbers of others, shown beside.
    """
    counted, unsettled = settle(archive.entries)
    problems = sorted([*archive.problems, *unsettled])
    diverged = {entry.configuration: 0 for entry in archive.entries}
    for entry in archive.entries:
        diverged[entry.configuration] += entry.status == "diverged"
    names = "".join(f"{file.relative}\n" for file in archive.located)
    tables = [_dataset_table(entries, diverged) for _, entries in _grouped(counted, lambda entry: entry.dataset.spec)]
    return Board(
        records=len(archive.located),
        counted=len(counted),
        digest=hashlib.sha256(names.encode()).hexdigest(),
        measures=list(MEASURES.values()),
        datasets=tables,
        overviews=overviews(tables),
        methods=_summaries({entry.method.name for entry in counted}, archive.catalogue),
        reported=list(reported),
        left_out=[
            Left(file=problem.file, field=problem.field, reason=problem.reason, refused=problem.refused)
            for problem in problems
        ],
    )


@_uncollected()
def rendered(board: Board, archive: Archive) -> dict[str, bytes]:
    """Return every file that is built from the records.

    Args:
        board: What :func:`build_board` made of the archive.
        archive: The records, for their histories.

    Returns:
        Path relative to the leaderboard folder -> content.
    """
    histories = {entry.path: entry.drawn for entry in archive.entries}
    return {
        "leaderboard.json": board.to_bytes(),
        "README.md": render(board).encode(),
        **render_site(board, histories),
    }


def build(board: Path) -> Board:
    """Read the archive in a leaderboard folder and write what is built from it.

    Raises:
        ConfigurationError: The folder is no leaderboard, or its reported numbers do not fit.
        NcbenchError: A folder that is written to is a link.
    """
    archive = read_archive(board, Catalogue.built_in())
    built = build_board(archive, read_reported(board))
    for name, content in rendered(built, archive).items():
        make_folders(board, name)
        write_atomically(board / name, content)
    return built


def _summaries(names: Collection[str], catalogue: Catalogue) -> list[MethodSummary]:
    found = [catalogue.find("methods", name, BUILT_IN) for name in sorted(names)]
    return [
        MethodSummary(name=registered.card.name, summary=registered.card.summary, citation=registered.card.citation)
        for registered in found
        if registered is not None
    ]


def _dataset_table(entries: Sequence[Entry], diverged: Mapping[str, int]) -> DatasetTable:
    primary = entries[0].primary_metric
    configurations = dict(_grouped(entries, lambda entry: entry.configuration))
    sections = []
    for (supervision, selection), members in _grouped(entries, lambda entry: (entry.supervision, entry.selection)):
        rows = []
        for configuration, runs in _grouped(members, lambda entry: entry.configuration):
            rows.append(_row(runs, primary, _baseline(runs[0], configurations), diverged[configuration]))
        rows = _distinguished(_ranked(rows, primary))
        train, val, hierarchy = supervision
        sections.append(Section(train=train, val=val, hierarchy=hierarchy, selection=selection, rows=rows))
    return DatasetTable(
        dataset=_plugin([entry.dataset for entry in entries]),
        fingerprint=entries[0].fingerprint,
        primary_metric=primary,
        published_epochs=entries[0].published_epochs,
        sections=sections,
    )


def _row(runs: Sequence[Entry], primary: str, baseline: Sequence[Entry] | None, diverged: int) -> Row:
    runs = sorted(runs, key=lambda entry: entry.seed)
    first = runs[0]
    measured = [_measured(entry) for entry in runs]
    shared = set.intersection(*map(set, measured))
    paired = None if baseline is None else _paired(runs, baseline, primary)
    flags = _flags(runs, diverged)
    if paired is not None and baseline is not None and baseline[0].epochs != first.epochs:
        flags.append(f"compared with {BASELINE} at {baseline[0].epochs} epochs")
    return Row(
        id=_row_id(first),
        rank=None,
        method=_plugin([entry.method for entry in runs]),
        backbone=_plugin([entry.backbone for entry in runs]),
        epochs=first.epochs,
        recipe=dict(sorted(first.recipe.items())),
        distinction="",
        metrics={name: _estimate([numbers[name] for numbers in measured]) for name in MEASURES if name in shared},
        versus_erm=paired,
        flags=flags,
        runs=[
            Source(seed=run.seed, record=run.path, metrics=_rounded(numbers))
            for run, numbers in zip(runs, measured, strict=True)
        ],
    )


def _measured(entry: Entry) -> dict[str, float]:
    """Return every measure of a run, in the order they are shown."""
    numbers = {**entry.accuracies, **entry.heights}
    return {name: numbers[name] for name in MEASURES if name in numbers}


def _row_id(entry: Entry) -> str:
    return entry.configuration[:12]


def _estimate(values: Sequence[float]) -> Estimate:
    centre, half = mean(values), half_width(values)
    return Estimate(
        mean=round(centre, DIGITS),
        low=None if half is None else round(centre - half, DIGITS),
        high=None if half is None else round(centre + half, DIGITS),
        seeds=len(values),
    )


def _rounded(numbers: Mapping[str, float]) -> dict[str, float]:
    return {name: round(value, DIGITS) for name, value in numbers.items()}


def _plugin(named: Sequence[Named]) -> Plugin:
    first = named[0]
    return Plugin(
        name=first.name,
        spec=first.spec,
        distribution=first.distribution,
        versions=sorted({part.version for part in named}),
    )


def _baseline(entry: Entry, configurations: Mapping[str, Sequence[Entry]]) -> Sequence[Entry] | None:
    """Return the runs of erm to compare with: same selection rule and backbone, else they tell nothing.

    Of several, those of the same epochs, then of the recipe that differs least from the row's own, then of most seeds,
    then of the smallest id.
    """
    if entry.method.name == BASELINE:
        return None
    candidates = [
        runs
        for runs in configurations.values()
        if (runs[0].method.name, runs[0].method.distribution) == (BASELINE, BUILT_IN)
        and (runs[0].selection, runs[0].backbone.spec) == (entry.selection, entry.backbone.spec)
    ]

    def distance(runs: Sequence[Entry]) -> tuple[bool, int, int, str]:
        other = runs[0].recipe
        changed = sum(entry.recipe.get(key) != other.get(key) for key in {*entry.recipe, *other})
        return entry.epochs != runs[0].epochs, changed, -len(runs), runs[0].configuration

    return min(candidates, key=distance, default=None)


def _paired(runs: Sequence[Entry], baseline: Sequence[Entry], primary: str) -> Paired | None:
    reference = {entry.seed: entry.accuracies[primary] for entry in baseline}
    differences = [entry.accuracies[primary] - reference[entry.seed] for entry in runs if entry.seed in reference]
    if len(differences) < MIN_SEEDS:
        return None
    return Paired(baseline=_row_id(baseline[0]), difference=_estimate(differences))


def _flags(runs: Sequence[Entry], diverged: int) -> list[str]:
    flags = []
    if len(runs) < MIN_SEEDS:
        flags.append(f"fewer than {MIN_SEEDS} seeds: not ranked")
    if diverged:
        flags.append(f"{diverged} further seed{'s' if diverged > 1 else ''} diverged")
    published = runs[0].published_epochs
    if published is not None and runs[0].epochs < published:
        flags.append(f"{runs[0].epochs} of the dataset's {published} epochs")
    flags += sorted({entry.note for entry in runs} - {""})
    for kind, versions in (
        ("the method", {entry.method.version for entry in runs}),
        ("the dataset", {entry.dataset.version for entry in runs}),
        ("ncbench", {entry.ncbench_version for entry in runs}),
    ):
        if len(versions) > 1:
            flags.append(f"seeds ran under {len(versions)} versions of {kind}")
    return flags


def _ranked(rows: Sequence[Row], primary: str) -> list[Row]:
    """Sort by the primary metric and rank what has enough seeds; equals share a rank."""
    ordered = sorted(rows, key=lambda row: (len(row.runs) < MIN_SEEDS, -row.metrics[primary].mean, row.id))
    ranked: list[Row] = []
    for position, row in enumerate(ordered, start=1):
        if len(row.runs) < MIN_SEEDS:
            ranked.append(row)
            continue
        previous = ranked[-1] if ranked else None
        tied = previous is not None and previous.metrics[primary].mean == row.metrics[primary].mean
        ranked.append(row.model_copy(update={"rank": previous.rank if previous and tied else position}))
    return ranked


def _distinguished(rows: Sequence[Row]) -> list[Row]:
    """Name the settings in which rows that show the same method, backbone and epochs differ."""
    alike: defaultdict[tuple[str, str, str, int], list[Row]] = defaultdict(list)
    for row in rows:
        alike[row.method.distribution, row.method.spec, row.backbone.spec, row.epochs].append(row)
    settings: dict[str, str] = {}
    for members in alike.values():
        keys = sorted({key for row in members for key in row.recipe})
        values = {key: {json.dumps(row.recipe.get(key)) for row in members} for key in keys}
        for row in members:
            differing = [f"{key}={row.recipe.get(key)}" for key in keys if len(values[key]) > 1]
            settings[row.id] = plain(", ".join(differing))
    return [row.model_copy(update={"distinction": settings[row.id]}) for row in rows]


def _grouped(entries: Iterable[Entry], key: Callable[[Entry], Key]) -> list[tuple[Key, list[Entry]]]:
    """Group entries by a key, in the order of the keys."""
    groups: defaultdict[Key, list[Entry]] = defaultdict(list)
    for entry in entries:
        groups[key(entry)].append(entry)
    return sorted(groups.items())
