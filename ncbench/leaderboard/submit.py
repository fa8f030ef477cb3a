"""Placing records in the archive, as new files only."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ncbench.contracts.errors import ConfigurationError, NcbenchError, counted
from ncbench.data.files import clear_temporaries, write_atomically
from ncbench.leaderboard.build import read_archive
from ncbench.leaderboard.intake.canonical import canonical
from ncbench.leaderboard.intake.catalogue import Catalogue
from ncbench.leaderboard.intake.claim import RERUN
from ncbench.leaderboard.intake.consistency import select_counting
from ncbench.leaderboard.intake.entry import Entry, inspect
from ncbench.leaderboard.intake.files import make_folders, read_file, require_leaderboard, unwritable
from ncbench.leaderboard.intake.problems import RefusedError
from ncbench.leaderboard.intake.soundness import SUPERSEDES
from ncbench.records.archive import RESULT_FILE, parse_json


@dataclass(frozen=True)
class Submission:
    """What became of one run.

    Args:
        run: Where its record was.
        path: Of the record in the archive; None if it was refused.
        new: Whether the file was placed now; False if it was there already, or one of another run with this result.
        problem: ``field: reason`` if it was refused, else empty.
        row: Its row on the board: method, dataset and epochs. Empty if it does not count.
        seeds: How many runs that row has, this one among them.
        tuned_on_test: Which settings were chosen by looking at test results, for which it never ranks; may be empty.
    """

    run: Path
    path: Path | None = None
    new: bool = False
    problem: str = ""
    row: str = ""
    seeds: int = 0
    tuned_on_test: str = ""


def submit(folder: Path, runs: Sequence[Path], supersedes: str | None = None) -> list[Submission]:
    """Place the records that count; the others are refused, each with its reason.

    Args:
        folder: The leaderboard folder.
        runs: Run folders, or their ``result.json``.
        supersedes: SHA-256 of the record that the only run corrects; written into the new record.

    Returns:
        One outcome a run, in the order given.

    Raises:
        ConfigurationError: The folder is no leaderboard, or several runs are to supersede one record.
        NcbenchError: A file cannot be written.
    """
    require_leaderboard(folder)
    if supersedes is not None and len(runs) != 1:
        raise ConfigurationError("--supersedes corrects one record, so give exactly one run with it.")
    catalogue = Catalogue.installed()
    read: dict[Path, tuple[Entry, bytes]] = {}
    refused: dict[Path, str] = {}
    for run in runs:
        try:
            read[run] = _read_run(run, catalogue, supersedes)
        except RefusedError as error:
            refused[run] = str(error)

    archive = read_archive(folder, catalogue, {entry.record.dataset.name for entry, _ in read.values()})
    present = {entry.path: entry.path for entry in archive.entries}
    present |= _made_again(
        [entry for entry, _ in read.values()], select_counting(archive.entries, archive.provenance)[0]
    )
    new = {entry.path: entry for entry, _ in read.values() if entry.path not in present}
    counting, problems = select_counting([*archive.entries, *new.values()], archive.provenance)
    reasons = {problem.file: f"{problem.field or 'the whole'}: {problem.reason}" for problem in problems}
    rows = {entry.path for entry in counting}
    seeds = Counter(entry.configuration for entry in counting)
    given = Counter((entry.configuration, entry.record.seed) for entry in new.values())

    outcomes = []
    for run in runs:
        if run in refused:
            outcomes.append(Submission(run, problem=refused[run]))
            continue
        entry, data = read[run]
        path = present.get(entry.path, entry.path)
        if path in new and given[entry.configuration, entry.record.seed] > 1:
            outcomes.append(Submission(run, problem="seed: runs of one configuration and seed are given that differ"))
            continue
        if path in new and path not in rows:
            outcomes.append(Submission(run, problem=reasons[path]))
            continue
        placed = path not in present
        if placed:
            place(folder, path, data)
            present[path] = path
        row = f"{entry.record.label} on {entry.record.dataset.spec}, {counted(entry.epochs, 'epoch')}"
        number = seeds[entry.configuration] if path in rows else 0
        outcomes.append(
            Submission(
                run, folder / path, placed, row=row if number else "", seeds=number, tuned_on_test=entry.tuned_on_test
            )
        )
    return outcomes


def _made_again(entries: Iterable[Entry], counting: Sequence[Entry]) -> dict[str, str]:
    """Return the entries that only repeat a record: path -> that of the record with the same seed and numbers."""
    known = {(entry.configuration, entry.record.seed): entry for entry in counting}
    found = {}
    for entry in entries:
        earlier = known.get((entry.configuration, entry.record.seed))
        if earlier is not None and entry.supersedes is None and entry.numbers == earlier.numbers:
            found[entry.path] = earlier.path
    return found


def _read_run(run: Path, catalogue: Catalogue, supersedes: str | None) -> tuple[Entry, bytes]:
    if run.is_dir() and not (run / RESULT_FILE).exists():
        raise RefusedError("", f"it has no {RESULT_FILE}; name the folders of runs, as {run}/*")
    try:
        content = parse_json(read_file(run / RESULT_FILE if run.is_dir() else run))
        if supersedes is not None and isinstance(content, dict):
            content[SUPERSEDES] = supersedes
        data = canonical(content)
    except (ValueError, RecursionError) as error:
        raise RefusedError("", f"it is not JSON of a record ({error})") from None
    entry = inspect(data, catalogue)
    if entry.claim is not None:
        raise RefusedError(RERUN, "it repeats another record's run, which 'ncbench leaderboard rerun' files")
    if entry.exclusion is not None:
        raise RefusedError(entry.exclusion.field, entry.exclusion.reason)
    return entry, data


def place(folder: Path, path: str, data: bytes) -> None:
    """Write a new file; nothing that exists is touched, and no link is followed.

    Raises:
        NcbenchError: The file cannot be written, or a folder on the way is a link.
    """
    target = folder / path
    try:
        make_folders(folder, path)
        if os.path.lexists(target):
            raise NcbenchError(f"{target} exists and is not the record that belongs there; see 'leaderboard check'.")
        clear_temporaries(target.parent)
        write_atomically(target, data)
    except OSError as error:
        raise unwritable(folder, error) from error
