"""From the archive's files to the board: pure, and the same bytes on every machine."""

from __future__ import annotations

import gc
import hashlib
import shutil
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ncbench.contracts import cards
from ncbench.contracts.errors import NcbenchError
from ncbench.data.files import clear_temporaries, temporary_for, write_atomically
from ncbench.leaderboard.intake.canonical import content_hash
from ncbench.leaderboard.intake.catalogue import Catalogue
from ncbench.leaderboard.intake.consistency import select_counting
from ncbench.leaderboard.intake.entry import Entry, grouped, inspect
from ncbench.leaderboard.intake.files import SITE, find_files, read_file, require_leaderboard, unwritable
from ncbench.leaderboard.intake.git_base import Provenance
from ncbench.leaderboard.intake.problems import Problem, RefusedError
from ncbench.leaderboard.pages import libraries
from ncbench.leaderboard.pages.markdown import render
from ncbench.leaderboard.pages.site import render_site
from ncbench.leaderboard.tables.board import Board, Measure, MethodSummary, ReportedTable
from ncbench.leaderboard.tables.families import families
from ncbench.leaderboard.tables.overview import overviews
from ncbench.leaderboard.tables.reported import read_reported
from ncbench.leaderboard.tables.reruns import select_reruns
from ncbench.leaderboard.tables.rows import dataset_table


@dataclass(frozen=True)
class Archive:
    """What was read of the records.

    Args:
        catalogue: The cards the records were compared with.
        files: Paths of all files that may be records, relative to the leaderboard folder.
        entries: The valid records among them of runs of their own.
        reruns: The valid records that repeat another one's run.
        problems: Why other files are not.
        provenance: Who placed them, and in which order.
    """

    catalogue: Catalogue
    files: Sequence[str]
    entries: Sequence[Entry]
    reruns: Sequence[Entry]
    problems: Sequence[Problem]
    provenance: Provenance


def read_archive(folder: Path, catalogue: Catalogue, datasets: Collection[str] | None = None) -> Archive:
    """Read and inspect the records of a leaderboard folder; one that is refused does not keep the others out.

    Args:
        folder: The leaderboard folder.
        catalogue: The cards to compare with.
        datasets: Only read these; None for all.

    Raises:
        ConfigurationError: The folder is no leaderboard.
    """
    require_leaderboard(folder)
    files, problems = find_files(folder, datasets)
    entries: list[Entry] = []
    gc.disable()  # records have no cycles of references, and the collector would look through each one many times
    try:
        for path in files:
            try:
                entries.append(_read_entry(folder, path, catalogue))
            except RefusedError as error:
                problems.append(Problem(path, error.field, error.reason))
    finally:
        gc.enable()
    originals = [entry for entry in entries if entry.claim is None]
    reruns = [entry for entry in entries if entry.claim is not None]
    return Archive(catalogue, files, originals, reruns, problems, Provenance(folder))


def _read_entry(folder: Path, path: str, catalogue: Catalogue) -> Entry:
    data = read_file(folder / path)
    digest = content_hash(data)
    if digest != Path(path).stem:
        raise RefusedError("", f"its content has the hash {digest}: it was changed, or never had this name")
    entry = inspect(data, catalogue)
    named = zip(("", "dataset.name", "method.name"), entry.path.split("/"), path.split("/"), strict=False)
    for field, found, expected in named:
        if found != expected:
            raise RefusedError(field, f"it is {found!r}, but the file lies under {expected!r}")
    return entry


def build_board(archive: Archive, reported: Sequence[ReportedTable]) -> Board:
    """Compute the board from what was read, and where records contend or correct one another, from git's history.

    Args:
        archive: The records.
        reported: Numbers of others, shown beside.
    """
    counting, problems = select_counting(archive.entries, archive.provenance)
    reruns, unused = select_reruns(archive.reruns, counting, archive.entries)
    files = "".join(f"{path}\n" for path in archive.files)
    measures = _measures({name for entry in counting for name in entry.numbers}, archive.catalogue)
    order = [measure.name for measure in measures]
    tables = [
        dataset_table(members, heading, order, reruns) for heading, members in _by_data(counting, archive.provenance)
    ]
    names = {table.dataset.name for table in tables}
    return Board(
        records=len(archive.files),
        counted=len(counting),
        reruns=sum(map(len, reruns.values())),
        digest=hashlib.sha256(files.encode()).hexdigest(),
        measures=measures,
        datasets=tables,
        overviews=overviews(tables, families(names, archive.catalogue.manifests(names))),
        methods=[
            MethodSummary(name=card.name, summary=card.summary, citation=card.citation)
            for name in sorted({entry.record.method.name for entry in counting})
            for card in archive.catalogue.own("methods", name)
        ],
        reported=list(reported),
        left_out=sorted([*archive.problems, *problems, *unused]),
    )


def _by_data(entries: Sequence[Entry], provenance: Provenance) -> Iterator[tuple[str, Sequence[Entry]]]:
    """Yield the entries of each table and its heading: those that say the same of the data they ran on.

    Whose data are the right ones cannot be told from records, so that other data make another table. Of several with
    one spec, that of today's data, then that of the record that was placed first, has the spec for its heading.
    """
    by_spec = grouped(entries, lambda entry: entry.record.dataset.spec)
    for spec in sorted(by_spec):
        tables = [*grouped(by_spec[spec], lambda entry: entry.data).values()]
        if len(tables) > 1:
            tables.sort(key=lambda members: (not members[0].current, min(provenance.order(e.path) for e in members)))
        for number, members in enumerate(tables, start=1):
            yield spec if number == 1 else f"{spec} ({number})", members


def _measures(names: Collection[str], catalogue: Catalogue) -> list[Measure]:
    """Describe what tables show: by ncbench's cards, and any other metric by its name alone."""
    unknown = {
        name: cards.Measure(
            label=name.replace("_", " "),
            direction="neither",
            meaning="A metric that ncbench does not have; its plugin says what it is.",
        )
        for name in sorted(set(names).difference(catalogue.shown))
    }
    return [
        Measure(
            name=name,
            heading=measure.label,
            meaning=measure.meaning,
            unit="fraction" if measure.unit == "%" else measure.unit,
            decimals=measure.decimals,
            better=measure.direction,
            recomputed=measure.from_counts,
        )
        for name, measure in {**catalogue.shown, **unknown}.items()
    ]


def rendered(board: Board) -> dict[str, bytes]:
    """Return the files that are committed beside the records: path relative to the leaderboard folder -> content."""
    return {"leaderboard.json": board.to_bytes(), "README.md": render(board).encode()}


def build(folder: Path) -> Board:
    """Read the archive in a leaderboard folder and write what is built from it; pages of an earlier build are removed.

    There are pages only where the libraries that they use are installed, which bring nothing to what is committed.

    Raises:
        ConfigurationError: The folder is no leaderboard, or its reported numbers do not fit.
        NcbenchError: The folder cannot be written, or that of the pages is a link.
    """
    archive = read_archive(folder, Catalogue.built_in())
    board = build_board(archive, read_reported(folder))
    pages: dict[str, bytes] = {}
    if not libraries.missing():
        pages = render_site(board, {entry.path: entry for entry in archive.entries}, archive.catalogue)
    site = folder / SITE
    if site.is_symlink():
        raise NcbenchError(f"{site} is a link; nothing is written through it.")
    made, earlier = temporary_for(site), temporary_for(folder / f"earlier-{SITE}")
    try:
        clear_temporaries(folder)
        for name, content in pages.items():
            page = made / name.removeprefix(f"{SITE}/")
            page.parent.mkdir(parents=True, exist_ok=True)
            page.write_bytes(content)
        for name, content in rendered(board).items():
            write_atomically(folder / name, content)
        if site.is_dir():
            site.replace(earlier)
        if pages:
            made.replace(site)
    except OSError as error:
        raise unwritable(folder, error) from error
    finally:
        for left in (made, earlier):
            shutil.rmtree(left, ignore_errors=True)
    return board
