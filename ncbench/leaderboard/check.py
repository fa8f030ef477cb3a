"""Whether the committed board is what the records give, and whether the archive only grew."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pydantic

from ncbench.contracts.errors import counted
from ncbench.leaderboard.build import Archive, build_board, read_archive, rendered
from ncbench.leaderboard.intake.canonical import is_canonical
from ncbench.leaderboard.intake.catalogue import Catalogue
from ncbench.leaderboard.intake.files import read_file
from ncbench.leaderboard.intake.git_base import Base
from ncbench.leaderboard.intake.problems import plain
from ncbench.leaderboard.pages.wording import Wording
from ncbench.leaderboard.tables.board import Board
from ncbench.leaderboard.tables.reported import read_reported


@dataclass(frozen=True)
class Change:
    """A row that differs between two boards.

    Args:
        before: ``mean ± half-width (seeds), rank`` of the primary metric in per cent; empty if the row is new.
        after: The same; empty if the row is gone.
    """

    dataset: str
    method: str
    section: str
    before: str
    after: str


@dataclass(frozen=True)
class Verdict:
    """What a check found.

    Args:
        board: The board rebuilt from the records.
        failures: One line each; empty if the check passes.
        changes: Rows that differ from the base's board, or from the committed one where no base is given.
    """

    board: Board
    failures: list[str]
    changes: list[Change]


def check(folder: Path, reference: str | None = None) -> Verdict:
    """Rebuild the board in memory and compare.

    Args:
        folder: The leaderboard folder.
        reference: A git commit, branch or tag; records it has must still be there, unchanged.

    Raises:
        ConfigurationError: The folder is no leaderboard, its reported numbers do not fit, or git does not know the
            reference.
    """
    base = None if reference is None else Base(folder, reference)
    archive = read_archive(folder, Catalogue.built_in())
    board = build_board(archive, read_reported(folder))
    failures = [str(problem) for problem in board.left_out if problem.refused]
    failures += [
        f"{entry.path}: it is not in the canonical form (sorted keys, no spaces) that 'submit' writes."
        for entry in [*archive.entries, *archive.reruns]
        if not is_canonical(read_file(folder / entry.path))
    ]
    failures += [] if base is None else [*_lost(base), *_untrue_claims(archive, base)]
    failures += [
        f"{name}: it is not what the records give; run 'ncbench leaderboard build' and commit it."
        for name, content in rendered(board).items()
        if _read(folder / name) != content
    ]
    earlier = _read(folder / "leaderboard.json") if base is None else base.read("leaderboard.json")
    return Verdict(board, failures, changes(_parse(earlier), board))


def changes(before: Board | None, after: Board) -> list[Change]:
    """Return the rows that are new, gone, or have other numbers, in the order of the boards."""
    old, new = dict(_rows(before)) if before else {}, dict(_rows(after))
    return [
        Change(*key[:3], old.get(key, ""), new.get(key, ""))
        for key in dict.fromkeys([*new, *old])
        if old.get(key) != new.get(key)
    ]


def _lost(base: Base) -> Iterator[str]:
    """Yield one line for each record of the base that is gone or has other content."""
    for path, gone in base.changed_records():
        rule = "deleted; the archive only grows" if gone else "changed; a correction is a new file that supersedes it"
        yield f"{plain(path)}: the record was {rule}."


def _untrue_claims(archive: Archive, base: Base) -> Iterator[str]:
    """Yield one line for each new rerun that names other authors than git does."""
    paths = {entry.digest: entry.path for entry in archive.entries}
    for rerun in archive.reruns:
        claim = rerun.claim
        made = archive.provenance.placed(rerun.path)
        if claim is None or made is None or claim.of not in paths or base.read(rerun.path) is not None:
            continue  # it is not committed yet, or was checked when it was new
        placed = archive.provenance.placed(paths[claim.of])
        for field, name, author in (("by", claim.by, made), ("submitter", claim.submitter, placed)):
            if name is not None and (author is None or plain(author.name) != plain(name)):
                known = "nobody" if author is None else repr(plain(author.name))
                yield f"{rerun.path}: rerun.{field}: it is {plain(name)!r}, and by git {known}."
        if claim.independent and placed is not None and made.email.casefold() == placed.email.casefold():
            yield f"{rerun.path}: rerun.by: by git it has the address of who placed the record that it repeats."


def _read(path: Path) -> bytes | None:
    try:
        return None if path.is_symlink() else path.read_bytes()
    except OSError:
        return None


def _parse(data: bytes | None) -> Board | None:
    try:
        return None if data is None else Board.model_validate_json(data)
    except pydantic.ValidationError:
        return None  # a board that cannot be read shows every row as new; the bytes are compared in any case


def _rows(board: Board) -> Iterator[tuple[tuple[str, str, str, str], str]]:
    """Yield (dataset, method, section, row id) and what is shown of each row."""
    wording = Wording(board)
    for table in board.datasets:
        for section in table.sections:
            labels = f"train={section.train}, val={section.val}{', hierarchy' if section.hierarchy else ''}"
            rules = ", ".join(filter(None, (labels, section.selection, section.searched)))
            for row in section.rows:
                estimate = row.metrics.get(table.primary_metric)
                if estimate is None or table.primary_metric not in wording.measures:
                    continue  # not a board that was built here
                number = wording.estimate(estimate, table.primary_metric)
                text = f"{number} ({counted(estimate.seeds, 'seed')}), rank {row.rank or '-'}"
                key = table.heading, row.label, rules, row.id
                yield (plain(key[0]), plain(key[1]), plain(key[2]), key[3]), text
