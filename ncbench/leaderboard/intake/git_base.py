"""What git knows: the archive and the board as they were at a commit."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
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

    def records(self) -> dict[str, str]:
        """Return every file of the archive: path relative to the leaderboard folder -> git's hash of its content."""
        # Paths in the tree are relative to the folder git runs in, and end with NUL whatever characters they hold.
        listed = self._git("ls-tree", "-r", "-z", self.commit, "--", f"{RESULTS}/")
        if listed is None:
            raise NcbenchError(f"git cannot list {RESULTS}/ at {self.commit}.")
        found = {}
        for line in listed.decode(errors="surrogateescape").split("\0"):
            description, _, path = line.partition("\t")
            if path.endswith(".json"):
                found[path] = description.split()[2]
        return found

    def read(self, name: str) -> bytes | None:
        """Return the content of a file of the leaderboard folder, or None if there was none."""
        return self._git("cat-file", "blob", f"{self.commit}:./{name}")

    @staticmethod
    def blob_hash(data: bytes, like: str) -> str:
        """Return git's hash of a file's content.

        Args:
            data: The content.
            like: A hash of the same repository, whose length tells SHA-1 from SHA-256.
        """
        algorithm = hashlib.sha256 if len(like) == 64 else hashlib.sha1
        return algorithm(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()

    def _git(self, *arguments: str) -> bytes | None:
        """Run git in the leaderboard folder; None if it fails."""
        program = shutil.which("git")
        if program is None:
            raise ConfigurationError("git is not installed; --base needs it.")
        done = subprocess.run(  # noqa: S603 (the program is git, the arguments are a list, and options end before a reference)
            [program, "-C", str(self._folder), *arguments], capture_output=True, check=False
        )
        return done.stdout if done.returncode == 0 else None
