"""Fetching a dataset's sources, on the user's request only.

Files come into a hidden folder ``.ncbench-partial/<dataset>`` of the data root, archives are unpacked there, and all
are moved to their places when every one of them is whole and has the right sha256. What was cut off is gone on with the
next time.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from ncbench.contracts.errors import DataError
from ncbench.data.files import locked
from ncbench.data.sources.archives import ArchiveError, unpack
from ncbench.data.sources.download import MirrorError, Progress, RemoteFile, RetryPolicy, download, part_of
from ncbench.data.sources.manifest import HttpFile, HttpSource, HubSource, Manifest, ManualSource

UNPACKED = ".ncbench-unpacked.json"
"""File in a folder made of an archive that says which, and how much it held."""


def fetch(
    manifest: Manifest,
    root: Path,
    *,
    report: Callable[[str], None] | None = None,
    progress: Progress | None = None,
    policy: RetryPolicy | None = None,
) -> None:
    """Fetch a dataset into a data root, from the first of its sources that works.

    Args:
        manifest: Its sources.
        root: The data root; made if it does not exist.
        report: Called with one line about each step.
        progress: Called as bytes arrive.
        policy: How servers are waited for.

    Raises:
        DataError: No source works (with each one's reason), the dataset has to be got by hand (with instructions),
            the disk is too small, or the folder cannot be written to.
    """
    say = report or (lambda line: None)
    if not manifest.sources:
        raise DataError(f"{manifest.name!r} has nothing to fetch: it is embedded, or its manifest names no source.")
    partial = root / ".ncbench-partial" / manifest.name
    reasons = []
    try:
        for source in sorted(manifest.sources, key=lambda source: isinstance(source, ManualSource)):  # by hand last
            if isinstance(source, ManualSource):  # which leaves no trace on the disk
                reasons.append("to get it by hand: " + " ".join(source.instructions.split()))
                continue
            partial.mkdir(parents=True, exist_ok=True)
            with locked(partial.with_name(f"{manifest.name}.lock"), f"fetching {manifest.name}", say):
                try:
                    if isinstance(source, HttpSource):
                        _fetch_http(source, root, partial, say, progress, policy or RetryPolicy())
                    else:
                        _fetch_hub(source, root, partial, say)
                except MirrorError as error:
                    reasons.append(str(error))
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
    policy: RetryPolicy,
) -> None:
    wanted = []
    for file in source.files:
        target = root / file.path
        if _is_here(target, file):
            say(f"{target} is here already.")
        elif file.extract and (target.is_symlink() or target.is_file() or (target.is_dir() and any(target.iterdir()))):
            raise DataError(
                f"{target} is there, but is not whole, or not what is fetched: move it away and fetch again."
            )
        else:
            wanted.append(file)
    missing = sum(_bytes_missing(file, partial) for file in wanted)
    if missing > (free := shutil.disk_usage(root).free):
        raise DataError(
            f"{missing / 1e6:.0f} MB are to be fetched and unpacked, but {root} has {free / 1e6:.0f} MB free: "
            "free some space, or choose another folder with --data-root."
        )
    for file in wanted:
        place = partial / file.path
        if not _is_here(place, file):
            place.parent.mkdir(parents=True, exist_ok=True)
            download(_remote(file), place if file.extract is None else _archive(place), say, progress, policy)
            if file.extract is not None:
                _unpack(file, place, say, progress)
    for file in wanted:
        target = root / file.path
        target.parent.mkdir(parents=True, exist_ok=True)
        (partial / file.path).replace(target)
        say(f"{target} is here, its sha256 verified.")


def _archive(folder: Path) -> Path:
    """Return where the archive is downloaded to that becomes a folder."""
    return folder.with_name(f"{folder.name}.archive")


def _bytes_missing(file: HttpFile, partial: Path) -> int:
    place = partial / file.path
    if _is_here(place, file):
        return 0
    download_to = place if file.extract is None else _archive(place)
    here = sum(path.stat().st_size for path in (download_to, part_of(download_to)) if path.is_file())
    return max(file.bytes - here, 0) + (file.extract.bytes if file.extract else 0)


def _unpack(file: HttpFile, folder: Path, say: Callable[[str], None], progress: Progress | None) -> None:
    """Turn a downloaded archive into the folder that is to be placed, whole and marked as such.

    Raises:
        MirrorError: The archive is refused. It stays, since it is what the manifest names.
    """
    assert file.extract is not None
    archive, size = _archive(folder), file.extract.bytes
    shutil.rmtree(folder, ignore_errors=True)  # what a killed attempt left; only a whole folder has the mark
    say(f"Unpacking {archive.name}")
    try:
        unpack(archive, file.extract, folder, lambda written: progress and progress(file.path, written, size))
    except ArchiveError as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise MirrorError(f"{file.urls[0]} cannot be unpacked: {error}") from error
    (folder / UNPACKED).write_text(json.dumps(_mark(folder, file)), encoding="utf-8")
    archive.unlink()


def _fetch_hub(source: HubSource, root: Path, partial: Path, say: Callable[[str], None]) -> None:
    target = root / source.path
    if target.exists():
        say(f"{target} is here already.")
        return
    say(f"Fetching {source.id} at {source.revision[:12]} from the Hugging Face hub")
    from huggingface_hub import snapshot_download  # here, since it takes half a second and few datasets need it

    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # each of its retries is a paragraph
    folder = partial / "hub"
    patterns = list(source.patterns) or None
    try:
        snapshot_download(
            source.id, repo_type="dataset", revision=source.revision, local_dir=folder, allow_patterns=patterns
        )
    except Exception as error:  # the client raises many types, its HTTP library's among them
        raise MirrorError(f"the hub's {source.id}: {' '.join(str(error).split())[:300]}") from error
    shutil.rmtree(folder / ".cache", ignore_errors=True)  # the client's own notes
    if not any(path.is_file() for path in folder.rglob("*")):
        raise MirrorError(f"the hub's {source.id} has no files {' or '.join(source.patterns)}")
    target.parent.mkdir(parents=True, exist_ok=True)
    folder.replace(target)
    say(f"{target} is here.")


def _is_here(path: Path, file: HttpFile) -> bool:
    """Whether a file, or the folder its archive becomes, is at `path` and whole."""
    if file.extract is not None:
        try:
            return bool(json.loads((path / UNPACKED).read_text(encoding="utf-8")) == _mark(path, file))
        except (OSError, ValueError):
            return False
    return _remote(file).is_at(path)


def _remote(file: HttpFile) -> RemoteFile:
    return RemoteFile(file.path, file.urls, file.sha256, file.bytes)


def _mark(folder: Path, file: HttpFile) -> dict[str, str | int]:
    """Return what says that a folder is all of its archive: the archive, the number of files, and their size."""
    number = total = 0
    for path, _, names in os.walk(folder):
        for name in names:
            if name != UNPACKED:
                number += 1
                total += os.lstat(os.path.join(path, name)).st_size  # noqa: PTH118 - a Path each is slow for millions
    return {"sha256": file.sha256, "files": number, "bytes": total}
