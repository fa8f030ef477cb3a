"""Fetching a dataset's sources, on the user's request only.

Files come into a hidden folder ``.ncbench-partial/<dataset>`` of the data root, archives are unpacked there, and all
are moved to their places when every one of them is whole and has the right sha256. What was cut off is gone on with the
next time.
"""

from __future__ import annotations

import email.utils
import hashlib
import http.client
import json
import logging
import os
import shutil
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ncbench
from ncbench.contracts.errors import DataError
from ncbench.contracts.files import locked
from ncbench.data.sources.manifest import HttpFile, HttpSource, HubSource, Manifest, ManualSource
from ncbench.data.sources.unpack import ArchiveError, unpack

UNPACKED = ".ncbench-unpacked.json"
"""File in a folder made of an archive that says which, and how much it held."""

_BLOCK = 1 << 18
_ATTEMPTS = 4  # requests to one mirror that bring nothing new, before the next mirror is tried
_USER_AGENT = f"ncbench/{ncbench.__version__}"


@dataclass(frozen=True)
class Patience:
    """How long to wait for a server.

    Args:
        timeout: Seconds without a byte before a connection is given up.
        pause: Seconds before a mirror is asked again, doubled each time.
        longest: Most seconds to wait when a server asks for it (429 or 503 with Retry-After).
    """

    timeout: float = 30.0
    pause: float = 1.0
    longest: float = 60.0


Progress = Callable[[str, int, int], None]
"""Called with a file's path, the bytes of it that are here or unpacked, and its size."""


class _MirrorError(Exception):
    """A mirror cannot give the file; the next one may."""


def fetch(
    manifest: Manifest,
    root: Path,
    *,
    report: Callable[[str], None] | None = None,
    progress: Progress | None = None,
    patience: Patience | None = None,
) -> None:
    """Fetch a dataset into a data root, from the first of its sources that works.

    Args:
        manifest: Its sources.
        root: The data root; made if it does not exist.
        report: Called with one line about each step.
        progress: Called as bytes arrive.
        patience: How long to wait for servers.

    Raises:
        DataError: No source works (with each one's reason), the dataset has to be got by hand (with instructions),
            the disk is too small, or the folder cannot be written to.
    """
    say = report or (lambda line: None)
    if not manifest.sources:
        raise DataError(f"{manifest.name!r} has nothing to fetch: it is embedded, or its manifest names no source.")
    # What has to be got by hand leaves no trace on the disk.
    reasons = [
        "to get it by hand: " + " ".join(source.instructions.split())
        for source in manifest.sources
        if isinstance(source, ManualSource)
    ]
    automatic = [source for source in manifest.sources if not isinstance(source, ManualSource)]
    try:
        if automatic:
            root.mkdir(parents=True, exist_ok=True)
        for source in automatic:
            partial = root / ".ncbench-partial" / manifest.name
            partial.mkdir(parents=True, exist_ok=True)
            with locked(partial.with_name(f"{manifest.name}.lock"), f"fetching {manifest.name}", say):
                try:
                    if isinstance(source, HttpSource):
                        _fetch_http(source, root, partial, say, progress, patience or Patience())
                    else:
                        _fetch_hub(source, root, partial, say)
                except _MirrorError as error:
                    reasons.insert(0, str(error))
                else:
                    shutil.rmtree(partial, ignore_errors=True)
                    return
    except OSError as error:
        raise DataError(f"Cannot write to the data root {root} ({error}): choose another with --data-root.") from error
    raise DataError(f"{manifest.name!r} was not fetched: {'; '.join(reasons)}")


def _fetch_http(
    source: HttpSource,
    root: Path,
    partial: Path,
    say: Callable[[str], None],
    progress: Progress | None,
    patience: Patience,
) -> None:
    wanted = [file for file in source.files if not _is_here(root / file.path, file)]
    for file in source.files:
        if file not in wanted:
            say(f"{root / file.path} is here already.")
        elif file.extract and _holds_something(root / file.path):
            raise DataError(
                f"{root / file.path} is there, but is not whole, or not what is fetched: move it away and fetch again."
            )
    missing = sum(_bytes_missing(file, partial) for file in wanted)
    if missing > (free := shutil.disk_usage(root).free):
        raise DataError(
            f"{missing / 1e6:.0f} MB are to be fetched and unpacked, but {root} has {free / 1e6:.0f} MB free: "
            "free some space, or choose another folder with --data-root."
        )
    for file in wanted:
        if file.extract is None:
            _download(file, partial / file.path, say, progress, patience)
        elif not _is_here(partial / file.path, file):
            _download(file, _archive(file, partial), say, progress, patience)
            _unpack(file, partial, say, progress)
    for file in wanted:
        target = root / file.path
        target.parent.mkdir(parents=True, exist_ok=True)
        (partial / file.path).replace(target)
        say(f"{target} is here, its sha256 verified.")


def _archive(file: HttpFile, partial: Path) -> Path:
    """Return where an archive is downloaded to; the folder it becomes is made beside it."""
    return partial / f"{file.path}.archive"


def _bytes_missing(file: HttpFile, partial: Path) -> int:
    if file.extract is None:
        return file.bytes - _size(partial / file.path)
    if _is_here(partial / file.path, file):
        return 0
    return file.bytes - _size(_archive(file, partial)) + file.extract.bytes


def _unpack(file: HttpFile, partial: Path, say: Callable[[str], None], progress: Progress | None) -> None:
    """Turn a downloaded archive into the folder that is to be placed, whole and marked as such.

    Raises:
        _MirrorError: The archive is refused. It stays, since it is what the manifest names.
    """
    if file.extract is None:
        raise ValueError(f"{file.path} is no archive")
    archive, folder = _archive(file, partial), partial / file.path
    size = file.extract.bytes

    def show(written: int) -> None:
        if progress is not None:
            progress(file.path, written, size)

    shutil.rmtree(folder, ignore_errors=True)  # what a killed attempt left; only a whole folder has the mark
    say(f"Unpacking {archive.name}")
    try:
        unpack(archive, file.extract, folder, show)
    except ArchiveError as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise _MirrorError(f"{file.urls[0]} cannot be unpacked: {error}") from error
    number, total = _content(folder)
    mark = {"sha256": file.sha256, "files": number, "bytes": total}
    (folder / UNPACKED).write_text(json.dumps(mark), encoding="utf-8")
    archive.unlink()


def _download(
    file: HttpFile, target: Path, say: Callable[[str], None], progress: Progress | None, patience: Patience
) -> None:
    """Bring one file to `target`, whole and verified, from the first mirror that gives it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    reasons = []
    for url in file.urls:
        say(f"Fetching {url}")
        try:
            _from_mirror(url, file, target, progress, patience)
        except _MirrorError as error:
            say(f"{url}: {error}")
            reasons.append(f"{url}: {error}")
        else:
            return
    raise _MirrorError("; ".join(reasons))


def _from_mirror(url: str, file: HttpFile, target: Path, progress: Progress | None, patience: Patience) -> None:
    inherited = _size(target) > 0
    _complete(url, file, target, progress, patience)
    if not _is_whole(target, file) and inherited:
        # What another mirror or an earlier attempt left may have been wrong; this mirror gets a chance of its own.
        target.unlink()
        _complete(url, file, target, progress, patience)
    if not _is_whole(target, file):
        target.unlink()
        raise _MirrorError("what it sent is not the published file (its sha256 differs); it was discarded")


def _complete(url: str, file: HttpFile, target: Path, progress: Progress | None, patience: Patience) -> None:
    """Ask one mirror again and again, as long as it brings something new, until the file has its full size."""
    idle, furthest, reason = 0, _size(target), ""
    while _size(target) < file.bytes:
        wait = patience.pause * 2**idle
        try:
            _request(url, file, target, progress, patience.timeout)
        except urllib.error.HTTPError as error:
            reason = f"the server answered {error.code} {error.reason}"
            if error.code == 416:  # what is here is no part of what the server has
                target.unlink(missing_ok=True)
            elif error.code in (429, 503):
                wait = _asked_wait(error.headers.get("Retry-After"), patience.longest) or wait
            elif error.code < 500:
                raise _MirrorError(reason) from error
        except (urllib.error.URLError, http.client.HTTPException, ssl.SSLError, ConnectionError, TimeoutError) as error:
            reason = f"the connection failed ({getattr(error, 'reason', None) or error})"
        else:
            reason = "the connection was closed early"
        if _size(target) < file.bytes:
            # Only what was never reached before is progress: a server may send the same short page again and again.
            idle = 0 if _size(target) > furthest else idle + 1
            furthest = max(furthest, _size(target))
            if idle >= _ATTEMPTS:
                raise _MirrorError(reason)
            time.sleep(wait)


def _asked_wait(header: str | None, longest: float) -> float | None:
    """Return the seconds that a Retry-After header asks for, `longest` at most; None if it asks for none."""
    if header is None:
        return None
    if header.isdecimal():
        return min(float(header), longest)
    try:
        seconds = email.utils.parsedate_to_datetime(header).timestamp() - time.time()
    except (ValueError, OverflowError):
        return None
    return min(max(seconds, 0.0), longest)


def _request(url: str, file: HttpFile, target: Path, progress: Progress | None, timeout: float) -> None:
    """Ask for what is still missing of a file and append it, or begin anew if the server sends it all."""
    here = _size(target)
    headers = {"User-Agent": _USER_AGENT, "Accept-Encoding": "identity"}
    if here:
        headers["Range"] = f"bytes={here}-"
    request = urllib.request.Request(url, headers=headers)  # noqa: S310 - the manifest admits http and https only
    with urllib.request.urlopen(request, timeout=timeout) as answer:  # noqa: S310
        goes_on = answer.status == 206 and answer.headers.get("Content-Range", "").startswith(f"bytes {here}-")
        if here and not goes_on:
            if answer.status == 206:
                target.unlink()
                raise _MirrorError("the server sent another part of the file than was asked for")
            here = 0
        with target.open("ab" if here else "wb") as output:
            while block := answer.read(_BLOCK):
                output.write(block)
                here += len(block)
                if progress is not None:
                    progress(file.path, here, file.bytes)
                if here > file.bytes:  # it will fail the checksum; don't let it fill the disk
                    return


def _fetch_hub(source: HubSource, root: Path, partial: Path, say: Callable[[str], None]) -> None:
    target = root / source.path
    if target.exists():
        say(f"{target} is here already.")
        return
    say(f"Fetching {source.id} at {source.revision[:12]} from the Hugging Face hub")
    from huggingface_hub import snapshot_download  # here, since it takes half a second and few datasets need it

    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # each of its retries is a paragraph
    folder = partial / "hub"
    arguments: dict[str, Any] = {"allow_patterns": list(source.patterns)} if source.patterns else {}
    try:
        snapshot_download(source.id, repo_type="dataset", revision=source.revision, local_dir=folder, **arguments)
    except Exception as error:  # the client raises many types, its HTTP library's among them
        raise _MirrorError(f"the hub's {source.id}: {' '.join(str(error).split())[:300]}") from error
    shutil.rmtree(folder / ".cache", ignore_errors=True)  # the client's own notes
    if not any(path.is_file() for path in folder.rglob("*")):
        raise _MirrorError(f"the hub's {source.id} has no files {' or '.join(source.patterns)}")
    target.parent.mkdir(parents=True, exist_ok=True)
    folder.replace(target)
    say(f"{target} is here.")


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _is_here(path: Path, file: HttpFile) -> bool:
    """Whether a file, or the folder its archive becomes, is at `path` and whole."""
    if file.extract is None:
        return _is_whole(path, file)
    try:
        mark = json.loads((path / UNPACKED).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    number, total = _content(path)
    return bool(mark == {"sha256": file.sha256, "files": number, "bytes": total})


def _content(folder: Path) -> tuple[int, int]:
    """Return the number of files below a folder, the mark excepted, and their size."""
    number = total = 0
    for path, _, names in os.walk(folder):
        for name in names:
            if name != UNPACKED:
                number += 1
                total += os.lstat(os.path.join(path, name)).st_size  # noqa: PTH118 - a Path each is slow for millions
    return number, total


def _holds_something(path: Path) -> bool:
    return path.is_symlink() or path.is_file() or (path.is_dir() and any(path.iterdir()))


def _is_whole(path: Path, file: HttpFile) -> bool:
    if _size(path) != file.bytes:
        return False
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest() == file.sha256
