"""What lies in the folders of a release, but for what file managers and archives leave there."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from ncbench import DataError

_LEFT_THERE = frozenset({"@eaDir", "Thumbs.db", "desktop.ini", "__MACOSX"})


def is_hidden(name: str) -> bool:
    """Return whether a file or folder of this name is never data."""
    return name.startswith(".") or name in _LEFT_THERE


def entries(folder: Path) -> list[tuple[str, bool]]:
    """Return the names in a folder, sorted and without hidden ones, and whether each is a folder.

    Raises:
        DataError: The folder is missing or cannot be listed.
    """
    try:
        with os.scandir(folder) as found:
            return sorted((entry.name, entry.is_dir()) for entry in found if not is_hidden(entry.name))
    except FileNotFoundError:
        raise DataError(f"{folder} is missing.") from None
    except OSError as error:
        raise DataError(f"{folder} cannot be listed ({error.strerror or error}).") from error


def files_below(folders: Sequence[Path]) -> list[Path]:
    """Return every file below the folders but hidden ones, folder by folder, in the order of their paths.

    Raises:
        DataError: A folder is missing, cannot be listed, or holds no file.
    """
    files: list[Path] = []
    for folder in folders:
        before, waiting = len(files), [folder]
        while waiting:
            inside = waiting.pop()
            for name, is_folder in entries(inside):
                (waiting if is_folder else files).append(inside / name)
        if len(files) == before:
            raise DataError(f"{folder} is empty.")
        files[before:] = sorted(files[before:])
    return files


def content(path: Path) -> bytes:
    """Read a file.

    Raises:
        DataError: It is missing or cannot be read.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise DataError(f"{path} is missing.") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror or error}).") from error
