"""Unpacking a downloaded archive: plain files only, inside one folder, no more than was announced.

The standard library extracts; what it would let pass (names made harmless, links that stay inside, a file written
twice) is refused here before anything is written.
"""

from __future__ import annotations

import lzma
import stat
import tarfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from ncbench.contracts.errors import name_offenders
from ncbench.data.sources.manifest import Extraction, stays_inside

_ENCRYPTED = 0x1  # bit of a zip member's flags
_DAMAGE = (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, NotImplementedError)


class ArchiveError(Exception):
    """An archive that is damaged, unsafe or larger than announced; the message says why, without its path."""


def unpack(archive: Path, extraction: Extraction, target: Path, progress: Callable[[int], None]) -> None:
    """Unpack an archive into a new folder.

    Args:
        archive: A file whose checksum was verified.
        extraction: Its kind, its size when unpacked, and which of its folders is wanted.
        target: The folder to make; its parent exists.
        progress: Called with the bytes written so far, after each file.

    Raises:
        ArchiveError: A member is absolute, climbs out, is a link, a device or encrypted, or appears twice; they hold
            more than was announced; the wanted folder is missing or empty; or the archive is damaged. Nothing outside
            `target` is ever written, and nothing at all if a member is refused.
        OSError: A file cannot be written.
    """
    written = 0
    try:
        with zipfile.ZipFile(archive) if extraction.kind == "zip" else tarfile.open(archive) as opened:
            for place, member in _wanted(opened, extraction):
                if isinstance(opened, zipfile.ZipFile):
                    member.entry.filename = place
                    opened.extract(member.entry, target)
                else:
                    member.entry.name = place
                    opened.extract(member.entry, target, set_attrs=False, filter="data")
                written += member.size
                progress(written)
    except (*_DAMAGE, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the disk; what gzip and bz2 find wrong with the data has no errno
        raise ArchiveError(f"it is damaged or no {extraction.kind} archive ({error})") from error


@dataclass(frozen=True)
class _Member:
    """One entry of an archive: its name and size as stated, and why it is refused whatever its name is, if it is."""

    entry: Any
    name: str
    size: int
    is_folder: bool
    fault: str


def _members(opened: zipfile.ZipFile | tarfile.TarFile) -> Iterator[_Member]:
    if isinstance(opened, tarfile.TarFile):
        for member in opened:
            fault = "" if member.isreg() or member.isdir() else "a link or a device"
            yield _Member(member, member.name, member.size, member.isdir(), fault)
        return
    for entry in opened.infolist():
        kind = stat.S_IFMT(entry.external_attr >> 16)  # 0 where the archive was not made on Unix
        fault = "" if kind in (0, stat.S_IFREG, stat.S_IFDIR) else "a link or a device"
        encrypted = "encrypted" if entry.flag_bits & _ENCRYPTED else ""
        yield _Member(entry, entry.filename, entry.file_size, entry.is_dir(), fault or encrypted)


def _wanted(opened: zipfile.ZipFile | tarfile.TarFile, extraction: Extraction) -> list[tuple[str, _Member]]:
    """Return the files that are wanted, each with its place in the target folder; refuse what must not be there."""
    members = list(_members(opened))
    files = [(PurePosixPath(member.name), member) for member in members if not member.is_folder]
    offenders = [
        f"{member.name!r} ({fault})" for member in members if (fault := member.fault or _fault_of_name(member))
    ]
    times = Counter(path for path, _ in files)
    offenders += [f"{str(path)!r} (twice)" for path, number in times.items() if number > 1]
    offenders += [f"{str(path)!r} (a file in a file)" for path in times if not times.keys().isdisjoint(path.parents)]
    if offenders:
        raise ArchiveError(f"it holds what is never unpacked: {name_offenders(offenders)}")
    inner = PurePosixPath(extraction.folder or ".")
    wanted = [(str(path.relative_to(inner)), member) for path, member in files if inner in path.parents]
    if not wanted:
        raise ArchiveError(f"it holds no files in {str(inner)!r}")
    if (size := sum(member.size for _, member in wanted)) > extraction.bytes:
        raise ArchiveError(f"it would unpack to {size} bytes, more than the {extraction.bytes} that were announced")
    return wanted


def _fault_of_name(member: _Member) -> str:
    if member.is_folder and PurePosixPath(member.name) == PurePosixPath("."):
        return ""  # as tar names the folder it was started in
    return "" if stays_inside(member.name) and "\0" not in member.name else "outside of the folder"
