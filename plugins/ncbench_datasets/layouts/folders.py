"""What lies in the folders of a release, but for what systems, file managers and archives leave there."""

from __future__ import annotations

import codecs
import os
from collections.abc import Sequence
from pathlib import Path

from ncbench import DataError

_LEFT_THERE = frozenset(
    {
        "$recycle.bin",
        "#recycle",
        "#snapshot",
        "@eadir",
        "@recently-snapshot",
        "@recycle",
        "__macosx",
        "__pycache__",
        "desktop.ini",
        "ehthumbs.db",
        "ehthumbs_vista.db",
        "icon\r",
        "lost+found",
        "network trash folder",
        "picasa.ini",
        "system volume information",
        "temporary items",
        "thumbs.db",
        "thumbs.db:encryptable",
    }
)
_LONGEST_TEXT = 1 << 28  # bytes


def is_hidden(name: str) -> bool:
    """Return whether a file or folder of this name is never data."""
    return name.startswith(".") or name.lower() in _LEFT_THERE


def entries(folder: Path) -> list[tuple[str, bool]]:
    """Return the names in a folder, sorted and without hidden ones, and whether each is a folder.

    Raises:
        DataError: The folder is missing or cannot be listed.
    """
    try:
        with os.scandir(folder) as found:
            return sorted((entry.name, _is_folder(entry)) for entry in found if not is_hidden(entry.name))
    except FileNotFoundError:
        raise DataError(f"{folder} is missing.") from None
    except OSError as error:
        raise DataError(f"{folder} cannot be listed ({error.strerror or error}).") from error


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself, which is refused by its name with the files
        return False


def files_below(folders: Sequence[Path]) -> list[Path]:
    """Return every file below the folders but hidden ones, folder by folder, in the order of their paths.

    Raises:
        DataError: A folder is missing, cannot be listed, holds no file, or holds a link to what it lies in.
    """
    files: list[Path] = []
    for folder in folders:
        before, waiting = len(files), [(folder, (folder.resolve(),))]
        while waiting:
            inside, way = waiting.pop()
            for name, is_folder in entries(inside):
                path = inside / name
                if not is_folder:
                    files.append(path)
                    continue
                real = path.resolve() if path.is_symlink() else way[-1] / name
                if real in way:
                    raise DataError(f"{path} is a link that leads back to {real}, which it lies in: remove it.")
                waiting.append((path, (*way, real)))
        if len(files) == before:
            raise DataError(f"{folder} is empty.")
        files[before:] = sorted(files[before:])
    return files


def content(path: Path) -> bytes:
    """Read a file.

    Raises:
        DataError: It is missing, is no plain file, or cannot be read.
    """
    try:
        if path.exists() and not path.is_file():  # nobody may ever write to a pipe, and a device has no end
            raise DataError(f"{path} is not a file.")
        return path.read_bytes()
    except FileNotFoundError:
        raise DataError(f"{path} is missing.") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror or error}).") from error


def text(path: Path) -> str:
    """Read a file of text in UTF-8, with or without a byte order mark, its line ends as they are.

    Raises:
        DataError: As :func:`content`, or it is not in UTF-8, or ten times as long as any table of a release.
    """
    if path.is_file() and (size := path.stat().st_size) > _LONGEST_TEXT:
        raise DataError(f"{path} cannot be read: it is no table, with its {size} bytes.")
    values = content(path)
    if values.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b"\0" in values[:4]:
        raise DataError(f"{path} cannot be read: it is in UTF-16; save it in UTF-8.")
    try:
        return values.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} cannot be read ({error}): save it in UTF-8.") from error
