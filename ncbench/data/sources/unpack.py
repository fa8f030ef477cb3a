"""Unpacking a downloaded archive: plain files and folders only, inside one folder, no more than was announced.

Everything is checked before anything is written. Files are copied out one by one instead of being extracted by
`tarfile` or `zipfile`: so no owner, mode or link of the archive ever reaches the disk, on any version of Python (the
first ones of 3.11 lack tarfile's filters).
"""

from __future__ import annotations

import functools
import lzma
import stat
import tarfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from ncbench.contracts.errors import name_offenders
from ncbench.data.sources.manifest import Extraction, stays_inside

_BLOCK = 1 << 18
_ENCRYPTED = 0x1  # bit of a zip member's flags
_DAMAGE = (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, NotImplementedError)


class ArchiveError(Exception):
    """An archive that is damaged, unsafe or larger than announced; the message says why, without its path."""


@dataclass(frozen=True)
class _Member:
    """One entry of an archive.

    Args:
        name: As the archive has it.
        size: Bytes of its content, as the archive states it; 0 for a folder.
        folder: Whether it is a folder.
        fault: Why it is refused whatever its name is; empty for plain files and folders.
        open: Opens its content.
    """

    name: str
    size: int
    folder: bool
    fault: str
    open: Callable[[], IO[bytes] | None]

    @property
    def path(self) -> PurePosixPath:
        return PurePosixPath(self.name)


def unpack(archive: Path, extraction: Extraction, target: Path, progress: Callable[[int], None]) -> None:
    """Unpack an archive into a new folder.

    Args:
        archive: A file whose checksum was verified.
        extraction: Its kind, its size when unpacked, and which of its folders is wanted.
        target: The folder to make; its parent exists.
        progress: Called with the bytes written so far.

    Raises:
        ArchiveError: A member is absolute, climbs out, is a link, a device or encrypted, or appears twice; they hold
            more than was announced; the wanted folder is missing or empty; or the archive is damaged. Nothing outside
            `target` is ever written, and nothing at all if a member is refused.
        OSError: A file cannot be written.
    """
    try:
        if extraction.kind == "zip":
            with zipfile.ZipFile(archive) as zipped:
                _write(_wanted(list(_zip_members(zipped)), extraction), target, progress)
        else:
            with tarfile.open(archive) as tarred:
                _write(_wanted(list(_tar_members(tarred)), extraction), target, progress)
    except (*_DAMAGE, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the disk; what gzip and bz2 find wrong with the data has no errno
        raise ArchiveError(f"it is damaged or no {extraction.kind} archive ({error})") from error


def _zip_members(zipped: zipfile.ZipFile) -> Iterator[_Member]:
    for entry in zipped.infolist():
        kind = stat.S_IFMT(entry.external_attr >> 16)  # 0 where the archive was not made on Unix
        fault = ""
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            fault = "a link" if kind == stat.S_IFLNK else "a device"
        elif entry.flag_bits & _ENCRYPTED:
            fault = "encrypted"
        yield _Member(entry.filename, entry.file_size, entry.is_dir(), fault, functools.partial(zipped.open, entry))


def _tar_members(tarred: tarfile.TarFile) -> Iterator[_Member]:
    for entry in tarred:
        fault = "" if entry.isreg() or entry.isdir() else "a link" if entry.issym() or entry.islnk() else "a device"
        size = entry.size if entry.isreg() else 0
        yield _Member(entry.name, size, entry.isdir(), fault, functools.partial(tarred.extractfile, entry))


def _wanted(members: Sequence[_Member], extraction: Extraction) -> list[tuple[PurePosixPath, _Member]]:
    """Return the files that are wanted, each with its place in the target folder; refuse what must not be there."""
    files = [member for member in members if not member.folder]
    inner = PurePosixPath(extraction.folder or ".")
    faults = [(member, member.fault or _fault_of_name(member)) for member in members]
    offenders = [f"{member.name!r} ({fault})" for member, fault in faults if fault]
    times = Counter(member.path for member in files)
    offenders += [f"{str(path)!r} (twice)" for path, number in times.items() if number > 1]
    offenders += [f"{str(path)!r} (a file in a file)" for path in times if not times.keys().isdisjoint(path.parents)]
    if offenders:
        raise ArchiveError(f"it holds what is never unpacked: {name_offenders(offenders)}")
    wanted = [(member.path.relative_to(inner), member) for member in files if inner in member.path.parents]
    if not wanted:
        raise ArchiveError(f"it holds no files in {str(inner)!r}")
    if (size := sum(member.size for _, member in wanted)) > extraction.bytes:
        raise ArchiveError(f"it would unpack to {size} bytes, more than the {extraction.bytes} that were announced")
    return wanted


def _fault_of_name(member: _Member) -> str:
    if member.folder and member.path == PurePosixPath("."):
        return ""  # as tar names the folder it was started in
    return "" if stays_inside(member.name) and "\0" not in member.name else "outside of the folder"


def _write(wanted: Iterable[tuple[PurePosixPath, _Member]], target: Path, progress: Callable[[int], None]) -> None:
    written = 0
    for place, member in wanted:
        path = target / place
        path.parent.mkdir(parents=True, exist_ok=True)
        with member.open() as content, path.open("xb") as output:  # type: ignore[union-attr]
            left = member.size
            while block := content.read(min(_BLOCK, left + 1)):
                left -= len(block)
                if left < 0:
                    break
                output.write(block)
                written += len(block)
                progress(written)
        if left:
            raise ArchiveError(f"{member.name!r} has not the {member.size} bytes that were announced")
