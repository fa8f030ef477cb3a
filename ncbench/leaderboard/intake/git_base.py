"""What git knows: the archive and the board as they were at a commit."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from ncbench.contracts.errors import ConfigurationError, NcbenchError
from ncbench.leaderboard.intake.files import RESULTS


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
        commit = self._git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{reference}^{{commit}}")
        if commit is None:
            raise ConfigurationError(
                f"There is no commit {reference!r} in a git repository of {folder}; in a shallow clone, fetch it first."
            )
        # From where the branches parted: records that the base gained since then are not deletions. Where the history
        # is too shallow to tell, the base itself is the stricter choice.
        parted = self._git("merge-base", commit.decode().strip(), "HEAD") or commit
        self.commit = parted.decode().strip()

    def changed_records(self) -> Iterator[tuple[str, bool]]:
        """Yield the path of every file of the archive that is gone or has other content, and whether it is gone."""
        # Paths are relative to the folder git runs in, and end with NUL whatever characters they hold.
        options = ("--no-renames", "--no-ext-diff", "--no-textconv", "--diff-filter=a", "--name-status", "-z")
        listed = self._git("diff", "--relative", *options, self.commit, "--", f"{RESULTS}/")
        if listed is None:
            raise NcbenchError(f"git cannot compare {RESULTS}/ with {self.commit}.")
        fields = listed.decode(errors="surrogateescape").split("\0")
        for status, path in zip(fields[::2], fields[1::2], strict=False):
            if path.endswith(".json"):
                yield path, status == "D"

    def read(self, name: str) -> bytes | None:
        """Return the content of a file of the leaderboard folder, or None if there was none."""
        return self._git("cat-file", "blob", f"{self.commit}:./{name}")

    def _git(self, *arguments: str) -> bytes | None:
        """Run git in the leaderboard folder; None if it fails."""
        program = shutil.which("git")
        if program is None:
            raise ConfigurationError("git is not installed; --base needs it.")
        done = subprocess.run(  # noqa: S603 (the program is git, the arguments are a list, and options end before a reference)
            [program, "-C", str(self._folder), *arguments], capture_output=True, check=False
        )
        return done.stdout if done.returncode == 0 else None
