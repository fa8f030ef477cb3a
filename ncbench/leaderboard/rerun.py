"""Making a run of the board again, from its record alone."""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ncbench.contracts.errors import ConfigurationError, NcbenchError
from ncbench.leaderboard.build import read_archive
from ncbench.leaderboard.intake.canonical import canonical
from ncbench.leaderboard.intake.catalogue import Catalogue
from ncbench.leaderboard.intake.claim import RERUN, Claim
from ncbench.leaderboard.intake.consistency import select_counting
from ncbench.leaderboard.intake.entry import Entry, grouped, inspect
from ncbench.leaderboard.intake.git_base import Provenance
from ncbench.leaderboard.intake.problems import RefusedError, plain
from ncbench.leaderboard.submit import place
from ncbench.leaderboard.tables.board import Verdict
from ncbench.leaderboard.tables.reruns import Reruns, diverged, judge, select_reruns, spread
from ncbench.leaderboard.tables.rows import row_id
from ncbench.records.intervals import MIN_SEEDS

if TYPE_CHECKING:
    from ncbench.training.reporters import Reporter


@dataclass(frozen=True)
class Outcome:
    """What became of a rerun.

    Args:
        original: The record whose run was made again.
        rerun: The record of the rerun.
        path: Its file.
        new: Whether it was placed now; False if it lay there already.
        verdict: Whether it agrees.
        spread: Of the row's seeds, in the primary metric; None below three.
    """

    original: Entry
    rerun: Entry
    path: Path
    new: bool
    verdict: Verdict
    spread: float | None


@dataclass(frozen=True)
class Rows:
    """The rows of a board, by what they may be called.

    Args:
        runs: Id of a row -> its runs, by seed.
        reruns: Of all records.
    """

    runs: Mapping[str, Sequence[Entry]]
    reruns: Reruns

    @classmethod
    def read(cls, folder: Path) -> Rows:
        """Read those of a leaderboard folder.

        Raises:
            ConfigurationError: The folder is no leaderboard.
        """
        archive = read_archive(folder, Catalogue.built_in())
        counting, _ = select_counting(archive.entries, archive.provenance)
        reruns, _ = select_reruns(archive.reruns, counting, archive.entries)
        runs = grouped(sorted(counting, key=lambda entry: entry.record.seed), row_id)
        return cls(runs, reruns)

    def find(self, name: str, seed: int | None) -> Entry:
        """Return the run that is meant.

        Args:
            name: A row's id, or METHOD/DATASET as the board names them, or the file of a record.
            seed: Which of the row's; None for that of the file, or for the first that has no rerun, or for the first.

        Raises:
            ConfigurationError: There is no such row, there are several, or it has no such seed.
        """
        digest = Path(name).name.removesuffix(".json")
        for runs in self.runs.values():
            for run in runs:
                if digest in (run.digest, *(rerun.digest for rerun in self.reruns.get(run.path, ()))):
                    return self._of_seed(runs, run.record.seed if seed is None else seed)
        named = [identity for identity, runs in self.runs.items() if name in (identity, _name(runs))]
        if len(named) > 1:
            choices = [f"{identity} ({_details(self.runs[identity])})" for identity in named]
            raise ConfigurationError(f"{len(named)} rows are called {name}; give the id of one: {'; '.join(choices)}.")
        if not named:
            raise self._unknown(name)
        runs = self.runs[named[0]]
        fresh = [run for run in runs if run.path not in self.reruns]
        return self._of_seed(runs, (fresh or runs)[0].record.seed if seed is None else seed)

    def _of_seed(self, runs: Sequence[Entry], seed: int) -> Entry:
        for run in runs:
            if run.record.seed == seed:
                return run
        seeds = ", ".join(str(run.record.seed) for run in runs)
        raise ConfigurationError(f"{_name(runs)} ({row_id(runs[0])}) has no seed {seed}. It has: {seeds}.")

    def _unknown(self, name: str) -> ConfigurationError:
        names = {_name(runs): identity for identity, runs in self.runs.items()}
        close = difflib.get_close_matches(name, [*names, *self.runs], n=3, cutoff=0.4)
        hint = f" The closest: {', '.join(close)}." if close else ""
        return ConfigurationError(
            f"There is no row {plain(name)!r} among the {len(self.runs)} of this board.{hint} Give METHOD/DATASET as "
            "in its README.md, a row's id as on its page, or the file of a record."
        )


def rerun(
    folder: Path,
    row: str,
    seed: int | None = None,
    *,
    output: Path = Path("reruns"),
    device: str = "auto",
    data_root: Path | None = None,
    force: bool = False,
    reporter: Reporter | None = None,
    warn: Callable[[str], None],
) -> Outcome:
    """Make a run again from its record, and file the result beside it. A rerun that was cut off is gone on with.

    Args:
        folder: The leaderboard folder.
        row: See :meth:`Rows.find`.
        seed: Which run of the row.
        output: Folder of the reruns; a run of one's own that is finished elsewhere is not taken for one.
        device: As :func:`ncbench.run`'s.
        data_root: As :func:`ncbench.run`'s.
        force: Discard what is there of an earlier attempt.
        reporter: Told of every epoch.
        warn: Told what a person should know.

    Raises:
        ConfigurationError: There is no such run, or it cannot be made here: a plugin is missing, or the installed
            version does not know a setting of its.
        DataError: The data are missing, or not those of the record.
        NcbenchError: The run failed, or its record cannot be filed.
        KeyboardInterrupt: It was interrupted; nothing is filed.
    """
    from ncbench.training.run import run_again  # here, since the board itself needs no torch

    rows = Rows.read(folder)
    original = rows.find(row, seed)
    result = run_again(
        original.record,
        output=output / original.digest[:12],
        device=device,
        data_root=data_root,
        resume=not force,
        force=force,
        reporter=reporter,
        warn=warn,
    ).path
    provenance = Provenance(folder)
    placed, made = provenance.placed(original.path), provenance.here
    claim = Claim(of=original.digest, by=made and made.name, submitter=placed and placed.name)
    data = canonical({**json.loads(result.read_bytes()), RERUN: claim.model_dump()})
    try:
        entry = inspect(data, Catalogue.installed())
    except RefusedError as error:
        raise NcbenchError(f"The rerun cannot be filed: {error}. Its record is {result}.") from error
    _, problems = select_reruns([entry], [original], [original])
    if problems:
        raise NcbenchError(
            f"The rerun cannot be filed: {problems[0].field}: {problems[0].reason}. Its record is {result}."
        )
    new = not (folder / entry.path).exists()
    if new:
        place(folder, entry.path, data)
    runs = rows.runs[row_id(original)]
    return Outcome(original, entry, folder / entry.path, new, judge(entry, original, runs), spread(runs))


def describe(outcome: Outcome) -> list[str]:
    """Return what to say of a rerun: how the numbers compare, and whether it counts as reproduced."""
    original, again = outcome.original, outcome.rerun
    name = original.record.primary_metric
    measure = Catalogue.built_in().measures[name]
    unit = " points" if measure.unit == "%" else ""
    what = original.record.title
    if diverged(again):
        return [f"{what}: the rerun diverged ({again.record.reason}). The board will show that."]
    numbers = (
        f"{what}: {measure.label} {measure.text(again.primary)}, and {measure.text(original.primary)} in the record"
    )
    width = "" if outcome.spread is None else f"{measure.text(outcome.spread)}{unit}"
    said = {
        "agrees": f"It agrees: the row's seeds are {width} apart." if width else "It agrees to the last digit.",
        "differs": f"It differs by more than the row's seeds do, which are {width} apart. The board will show that.",
        "undecided": f"Whether that is much cannot be told: the row has fewer than {MIN_SEEDS} seeds.",
    }[outcome.verdict]
    claim = again.claim
    assert claim is not None
    if claim.by is None or claim.submitter is None:
        counts = "It does not count as reproduced, since git does not know both who placed the record and who you are."
    elif not claim.independent:
        counts = "It does not count as reproduced: by git, the same person placed the record."
    else:
        counts = "It counts as reproduced." if outcome.verdict == "agrees" else ""
    return [f"{numbers}. {said}", *([counts] if counts else [])]


def _name(runs: Sequence[Entry]) -> str:
    return f"{runs[0].record.label}/{runs[0].record.dataset.spec}"


def _details(runs: Sequence[Entry]) -> str:
    first = runs[0]
    return f"{first.record.backbone.spec}, {first.epochs} epochs, {first.selection}"
