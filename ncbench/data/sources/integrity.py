"""A dataset's source files: where they may lie, whether they changed, whether their content is the published one."""

from __future__ import annotations

import errno
import gzip
import hashlib
import os
import stat
import zlib
from collections.abc import Iterable
from pathlib import Path

from ncbench.contracts.errors import DataError, name_offenders
from ncbench.data.sources.manifest import Manifest, SourceFile

_BLOCK = 1 << 20


def signature(files: Iterable[Path], root: Path | None) -> str:
    """Return a digest of the files' relative paths, sizes and modification times, without reading them.

    Args:
        files: The source files of a dataset.
        root: The folder they must lie in; None for an embedded dataset, which has none.

    Raises:
        DataError: A file is missing, is no plain file, or lies outside `root`, itself or through a link.
    """
    digest = hashlib.sha256()
    if root is None:
        return digest.hexdigest()
    real_root = root.resolve()
    real_parents: dict[Path, Path] = {}
    offenders: list[str] = []
    leads_out = False
    for path in sorted(files):
        if path.parent not in real_parents:
            real_parents[path.parent] = path.parent.resolve()
        try:
            state = path.lstat()
            real = real_parents[path.parent] / path.name
            if stat.S_ISLNK(state.st_mode):
                real, state = path.resolve(strict=True), path.stat()
        except (OSError, RuntimeError) as error:
            offenders.append(f"{path} ({_why_not_there(path, error)})")
            continue
        if not real.is_relative_to(real_root):
            leads_out = True
            offenders.append(f"{path} (a link out of the folder)")
        elif not stat.S_ISREG(state.st_mode):
            offenders.append(f"{path} (not a file)")
        else:
            relative = os.fsencode(path.relative_to(root)).hex()
            digest.update(f"{relative} {state.st_size} {state.st_mtime_ns}\n".encode())
    if offenders:
        way = f" Put what links lead to into it; the whole folder may be a link (ln -s ELSEWHERE {root})."
        raise DataError(f"{root} cannot be used: {name_offenders(offenders)}.{way if leads_out else ''}")
    return digest.hexdigest()


def _why_not_there(path: Path, error: OSError | RuntimeError) -> str:
    if isinstance(error, FileNotFoundError):
        return "a link to nothing" if path.is_symlink() else "missing"
    if isinstance(error, RuntimeError) or error.errno == errno.ELOOP:  # as Python before 3.13 has it, and since
        return "a link to itself"
    return error.strerror or str(error)


def wrong_files(manifest: Manifest, folder: Path) -> list[str]:
    """Hash the source files whose content the manifest knows; return those that are not what they must be.

    Args:
        manifest: Its `files` are looked for, plain or with ``.gz`` appended.
        folder: The dataset's folder.

    Returns:
        One phrase a bad file: its path and the reason.
    """
    wrong = []
    for file in manifest.files:
        plain = folder / file.path
        compressed = plain.with_name(plain.name + ".gz")
        path = plain if plain.is_file() or not compressed.is_file() else compressed
        if file.optional and not path.exists():
            continue
        if fault := _fault(path, file):
            wrong.append(f"{path} ({fault})")
    return wrong


def _fault(path: Path, file: SourceFile) -> str:
    """Return what is wrong with the content of a source file, or nothing."""
    digest, size = hashlib.sha256(), 0
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as content:
            while block := content.read(_BLOCK):
                digest.update(block)
                size += len(block)
    except FileNotFoundError:
        return "missing"
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        return f"truncated or damaged: {error}"
    except OSError as error:
        return error.strerror or str(error)
    if size != file.bytes:
        return f"{size} bytes of content instead of {file.bytes}"
    sha256 = digest.hexdigest()
    return "" if sha256 == file.sha256 else f"its content has sha256 {sha256} instead of {file.sha256}"
