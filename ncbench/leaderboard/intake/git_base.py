"""What git knows: the archive and the board as they were at a commit, and who placed each record, in which order."""

from __future__ import annotations

import functools
import math
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ncbench.contracts.errors import ConfigurationError, NcbenchError
from ncbench.leaderboard.intake.files import RESULTS


@dataclass(frozen=True)
class Author:
    """Who made a commit, by what git was told and what a ``.mailmap`` makes of it."""

    name: str
    email: str


class Base:
    """The leaderboard folder as it was where a branch left another.

    Args:
        folder: The leaderboard folder, inside a git working tree.
        reference: A commit, branch or tag.

    Raises:
        ConfigurationError: The folder is in no git repository, or there is no such commit.
    """

    def __init__(self, folder: Path, reference: str) -> None:
        self._folder = folder
        if shutil.which("git") is None:
            raise ConfigurationError("git is not installed; --base needs it.")
        commit = _git(folder, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{reference}^{{commit}}")
        if commit is None:
            raise ConfigurationError(
                f"There is no commit {reference!r} in a git repository of {folder}; in a shallow clone, fetch it first."
            )
        # From where the branches parted: records that the base gained since then are not deletions. Where the history
        # is too shallow to tell, the base itself is the stricter choice.
        parted = _git(folder, "merge-base", commit.decode().strip(), "HEAD") or commit
        self.commit = parted.decode().strip()

    def changed_records(self) -> Iterator[tuple[str, bool]]:
        """Yield the path of every file of the archive that is gone or has other content, and whether it is gone."""
        # Paths are relative to the folder git runs in, and end with NUL whatever characters they hold.
        options = ("--no-renames", "--no-ext-diff", "--no-textconv", "--diff-filter=a", "--name-status", "-z")
        listed = _git(self._folder, "diff", "--relative", *options, self.commit, "--", f"{RESULTS}/")
        if listed is None:
            raise NcbenchError(f"git cannot compare {RESULTS}/ with {self.commit}.")
        fields = listed.decode(errors="surrogateescape").split("\0")
        for status, path in zip(fields[::2], fields[1::2], strict=False):
            if path.endswith(".json"):
                yield path, status == "D"

    def read(self, name: str) -> bytes | None:
        """Return the content of a file of the leaderboard folder, or None if there was none."""
        return _git(self._folder, "cat-file", "blob", f"{self.commit}:./{name}")


class Provenance:
    """Who placed each record, and in which order; git is asked where records contend, and only then.

    An author is what a commit says of itself: who may write what is for the reviewer of a pull request to see.

    Args:
        folder: The leaderboard folder. In no git repository, nothing is known of it.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def order(self, path: str) -> tuple[float, bool, str]:
        """Return what sorts records as they came into the branch; those of one commit, and those of none, by path.

        What is not in the archive yet, as what is about to be submitted, comes last.
        """
        return self._positions.get(path, math.inf), not (self._folder / path).exists(), path

    def author(self, path: str) -> Author | None:
        """Return who committed a record first, or who is about to commit it; None where git does not know."""
        return self._authors.get(path, self.here) if self._complete else None

    def placed(self, path: str) -> Author | None:
        """Return who committed a record first; None where git does not know, or if nobody has yet."""
        return self._authors.get(path) if self._complete else None

    @functools.cached_property
    def here(self) -> Author | None:
        """Who would commit in the leaderboard folder now; None where git does not know."""
        identity, end, _ = (_git(self._folder, "var", "GIT_AUTHOR_IDENT") or b"").rpartition(b">")
        mapped = (end and _git(self._folder, "check-mailmap", os.fsdecode(identity + end))) or b""
        name, _, email = mapped.decode(errors="replace").strip().removesuffix(">").rpartition(" <")
        return Author(name, email) if name else None

    @functools.cached_property
    def _positions(self) -> Mapping[str, int]:
        # Along the first parents: the order in which the branch took them in, whatever the dates of their commits.
        added = self._added("--first-parent", "-m")
        return {path: position for position, (_, paths) in reversed([*enumerate(added)]) for path in paths}

    @functools.cached_property
    def _authors(self) -> Mapping[str, Author]:
        return {path: author for author, paths in reversed(self._added("--topo-order")) for path in paths}

    @functools.cached_property
    def _complete(self) -> bool:
        """Whether the history is there; the oldest commit of a shallow clone seems to have placed all before it."""
        return (_git(self._folder, "rev-parse", "--is-shallow-repository") or b"").strip() == b"false"

    def _added(self, *options: str) -> list[tuple[Author, list[str]]]:
        """Return the author of every commit that added files to the archive, and which; the oldest first."""
        listed = _git(
            self._folder,
            "log",
            "--reverse",
            *options,
            "--no-renames",
            "--diff-filter=A",
            "--name-only",
            "--relative",
            "--format=%x00%aN%n%aE",
            "--",
            f"{RESULTS}/",
        )
        commits = (listed or b"").decode(errors="surrogateescape").split("\0")[1:]
        return [(Author(name, email), paths) for name, email, *paths in (commit.split("\n") for commit in commits)]


def _git(folder: Path, *arguments: str) -> bytes | None:
    """Run git in the leaderboard folder; None if it fails, or is not installed."""
    program = shutil.which("git")
    if program is None:
        return None
    done = subprocess.run(  # noqa: S603 (the program is git, the arguments are a list, and options end before a reference)
        [program, "-C", str(folder), *arguments], capture_output=True, check=False
    )
    return done.stdout if done.returncode == 0 else None
