"""The files of the archive: finding and reading them without following anything out of the folder."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator
from pathlib import Path

from ncbench.contracts.cards import NAME
from ncbench.contracts.errors import ConfigurationError, NcbenchError, lacking
from ncbench.data.files import is_temporary
from ncbench.leaderboard.intake.problems import Problem, RefusedError, plain
from ncbench.records import archive as records

RESULTS = "results"
SITE = "site"
LONGEST_NAME = 64
_FILE = re.compile(r"([0-9a-f]{64})\.json")


def is_folder_name(name: str) -> bool:
    """Whether a dataset's or a method's name may name a folder; nothing that passes can lead out of the archive."""
    return len(name) <= LONGEST_NAME and NAME.fullmatch(name) is not None


def record_path(dataset: str, method: str, digest: str) -> str:
    """Return where a record belongs, relative to the leaderboard folder, by names that may name a folder."""
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


def find_files(folder: Path, datasets: Collection[str] | None = None) -> tuple[list[str], list[Problem]]:
    """List the archive's files in the order of their paths.

    Args:
        folder: The leaderboard folder.
        datasets: Only look at these; None for all.

    Returns:
        Paths that may be a record's, relative to the leaderboard folder and with forward slashes; and one problem for
        everything else that lies there: links, wrong names, folders where files belong.
    """
    found: list[str] = []
    problems: list[Problem] = []
    for dataset in _entries(folder / RESULTS, "folder", problems, RESULTS):
        if datasets is not None and dataset.name not in datasets:
            continue
        prefix = f"{RESULTS}/{dataset.name}"
        for method in _entries(Path(dataset.path), "folder", problems, prefix):
            files = _entries(Path(method.path), "file", problems, f"{prefix}/{method.name}")
            found += [f"{prefix}/{method.name}/{file.name}" for file in files]
    return found, problems


def read_file(path: Path) -> bytes:
    """Read one regular file, never following a link and never more than a record may have.

    Raises:
        RefusedError: It is a link, not a regular file, too large, or cannot be read.
    """
    try:
        return records.read_file(path, getattr(os, "O_NOFOLLOW", 0))
    except OSError as error:
        raise RefusedError("", f"it cannot be read ({error.strerror})") from None
    except ValueError as error:
        raise RefusedError("", str(error)) from None


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


def unwritable(folder: Path, error: OSError) -> NcbenchError:
    """Return what to say of a leaderboard folder in which something could not be written."""
    reason = error.strerror or str(error)
    said = lacking(OSError(error.errno, reason, os.fspath(folder)))
    return NcbenchError(said or f"{folder} cannot be written ({reason}): make it writable, or give another --board.")


def _entries(folder: Path, kind: str, problems: list[Problem], prefix: str) -> Iterator[os.DirEntry[str]]:
    """Yield what may lie in a folder, sorted by name, and note what may not."""
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        problems.append(Problem(plain(prefix), "", f"the folder cannot be read ({error.strerror})"))
        return
    for entry in entries:
        if kind == "file" and is_temporary(entry.name) and entry.is_file(follow_symlinks=False):
            continue  # of a process that is writing just now, or was killed while it did
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
