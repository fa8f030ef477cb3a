"""The files of the archive: finding and reading them without following anything out of the folder."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from ncbench.contracts.cards import NAME
from ncbench.contracts.errors import ConfigurationError, NcbenchError
from ncbench.leaderboard.intake.problems import Problem, RefusedError, plain
from ncbench.records.archive import MAX_BYTES

RESULTS = "results"
SITE = "site"
LONGEST_NAME = 64
_FILE = re.compile(r"([0-9a-f]{64})\.json")


@dataclass(frozen=True)
class Located:
    """A file where a record may lie.

    Args:
        path: The file.
        dataset: Name of the dataset, from the path.
        method: Name of the method, from the path.
        digest: The content's hash, from the path.
    """

    path: Path
    dataset: str
    method: str
    digest: str

    @property
    def relative(self) -> str:
        """The path relative to the leaderboard folder, with forward slashes."""
        return record_path(self.dataset, self.method, self.digest)


def is_folder_name(name: str) -> bool:
    """Whether a dataset's or a method's name may name a folder; nothing that passes can lead out of the archive."""
    return len(name) <= LONGEST_NAME and NAME.fullmatch(name) is not None


def record_path(dataset: str, method: str, digest: str) -> str:
    """Return where a record belongs, relative to the leaderboard folder.

    Raises:
        RefusedError: A part is not a valid name.
    """
    for field, name in (("dataset.name", dataset), ("method.name", method)):
        if not is_folder_name(name):
            raise RefusedError(
                field, f"{name!r} is not a name (lower-case letters, digits, underscores; at most {LONGEST_NAME})"
            )
    if not _FILE.fullmatch(f"{digest}.json"):
        raise RefusedError("", f"{digest!r} is not a SHA-256 in hexadecimal")
    return f"{RESULTS}/{dataset}/{method}/{digest}.json"


def require_leaderboard(folder: Path) -> None:
    """Refuse a leaderboard folder that is not one.

    Raises:
        ConfigurationError: The folder or its ``results`` is missing, or is a link.
    """
    for needed in (folder, folder / RESULTS):
        if needed.is_symlink():
            raise ConfigurationError(f"{needed} is a link; the leaderboard must be a real folder.")
        if not needed.is_dir():
            raise ConfigurationError(
                f"There is no leaderboard at {folder} (it needs a folder {RESULTS}/). "
                "Run this in a checkout of ncbench, or give --board DIR."
            )


def find_files(folder: Path, datasets: Collection[str] | None = None) -> tuple[list[Located], list[Problem]]:
    """List the archive's files in the order of their paths.

    Args:
        folder: The leaderboard folder.
        datasets: Only look at these; None for all.

    Returns:
        Files whose path is right, and one problem for everything else that lies there: links, wrong names, folders
        where files belong.
    """
    located: list[Located] = []
    problems: list[Problem] = []
    for dataset in _entries(folder / RESULTS, "folder", problems, RESULTS):
        if datasets is not None and dataset.name not in datasets:
            continue
        prefix = f"{RESULTS}/{dataset.name}"
        for method in _entries(Path(dataset.path), "folder", problems, prefix):
            for file in _entries(Path(method.path), "file", problems, f"{prefix}/{method.name}"):
                located.append(Located(Path(file.path), dataset.name, method.name, file.name.removesuffix(".json")))
    return located, problems


def read_file(path: Path) -> bytes:
    """Read one regular file, never following a link and never more than a record may have.

    Raises:
        RefusedError: It is a link, not a regular file, too large, or cannot be read.
    """
    try:
        # Non-blocking, so that a pipe in the file's place cannot hold the build up.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    except OSError as error:
        raise RefusedError("", f"it cannot be read ({error.strerror})") from None
    with open(descriptor, "rb", buffering=0) as file:  # noqa: PTH123 (a descriptor, not a path)
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise RefusedError("", "it is not a regular file")
        if status.st_size > MAX_BYTES:
            raise RefusedError("", f"its {status.st_size} bytes are more than the {MAX_BYTES} a record may have")
        return file.readall()


def make_folders(folder: Path, file: str) -> None:
    """Make the folders of a file that is about to be written, and follow no link.

    Args:
        folder: The leaderboard folder.
        file: Path relative to it, with forward slashes.

    Raises:
        NcbenchError: A folder on the way is a link.
    """
    for part in file.split("/")[:-1]:
        folder = folder / part
        if folder.is_symlink():
            raise NcbenchError(f"{folder} is a link; nothing is written through it.")
        folder.mkdir(exist_ok=True)


def _entries(folder: Path, kind: str, problems: list[Problem], prefix: str) -> Iterator[os.DirEntry[str]]:
    """Yield what may lie in a folder, sorted by name, and note what may not."""
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        problems.append(Problem(plain(prefix), "", f"the folder cannot be read ({error.strerror})"))
        return
    for entry in entries:
        if entry.is_symlink():
            reason = "it is a link; the archive holds real files only"
        elif kind == "folder" and not (entry.is_dir(follow_symlinks=False) and is_folder_name(entry.name)):
            reason = "only folders named as a dataset or a method belong here"
        elif kind == "file" and not (entry.is_file(follow_symlinks=False) and _FILE.fullmatch(entry.name)):
            reason = "only files named <SHA-256 of the content>.json belong here"
        else:
            yield entry
            continue
        problems.append(Problem(plain(f"{prefix}/{entry.name}"), "", reason))
