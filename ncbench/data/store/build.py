"""Building a store: read the sources, check them, decode, write, and move the whole into place.

The folder it is built in, ``.<key>.partial``, is only moved to the store's own name when it is whole. A build that is
killed leaves it with its ``plan.json``; the next build with the same plan goes on from what was decoded.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from ncbench.contracts.dataset import Dataset, Split
from ncbench.contracts.errors import DataError, PluginError, counted, name_offenders
from ncbench.contracts.specs import Spec
from ncbench.data.files import write_atomically
from ncbench.data.sources.integrity import wrong_files
from ncbench.data.sources.manifest import Manifest
from ncbench.data.store.check import SPLITS, count_differences, not_as_promised, read_splits
from ncbench.data.store.decode import Framing, decoder
from ncbench.data.store.imbalance import thinned
from ncbench.data.store.write import SplitDigest, bytes_needed, labels_sha256, write_split

PLAN = "plan.json"

MOST_DIFFERENCES = 100
"""Differences from the manifest that are kept of a dataset; those of its counts come first."""


def build(
    folder: Path,
    identity: Mapping[str, Any],
    dataset: Dataset,
    spec: Spec,
    manifest: Manifest,
    say: Callable[[str], None],
    allow_mismatch: bool,
) -> None:
    """Build a store; the caller holds its lock.

    Args:
        folder: Where it is to lie.
        identity: What it is built from, for its meta data.
        dataset: Knows its sources and parameters.
        spec: Its canonical spec.
        manifest: Its counts and checksums are enforced.
        say: Called with one line about each thing that takes long.
        allow_mismatch: Whether data that are not what the manifest promises are gone on with.

    Raises:
        DataError: The sources cannot be read, or are not sound, or not what the manifest promises.
        PluginError: The dataset reads files that it does not declare.
        OSError: The folder cannot be written to, or the disk is too small.
    """
    splits, differences = _read(dataset, spec, manifest)
    if differences and not allow_mismatch:
        raise not_as_promised(differences, manifest, None if dataset.folder is None else dataset.source)
    splits = thinned(splits, spec, dataset.class_names)
    framing = Framing.of(dataset)
    partial = folder.with_name(f".{folder.name}.partial")
    _begin(partial, {**identity, "decoder": decoder(), "splits": _contents(splits)})
    try:
        here = sum(path.stat().st_size for path in partial.iterdir())
        needed = sum(bytes_needed(split, framing) for split in splits.values()) - here
        if needed > (free := shutil.disk_usage(folder.parent).free):
            raise OSError(errno.ENOSPC, f"the store needs {needed / 1e6:.1f} MB more, {free / 1e6:.1f} MB are free")
        digests, bad = {}, []
        for name in SPLITS:
            if name in splits:
                digests[name], wrong = write_split(partial, name, splits[name], framing, say)
                bad += wrong
        if bad:
            raise DataError(
                f"{counted(len(bad), 'image')} of {spec.name!r} cannot be decoded: {name_offenders(bad)}. Replace "
                "them, or leave them out of the dataset."
            )
        meta = {
            **identity,
            "fingerprint": _fingerprint(digests, dataset),
            "decoder": decoder(),
            "splits": {name: asdict(digest) for name, digest in digests.items()},
            "class_names": list(dataset.class_names),
            "bias_names": list(dataset.bias_names),
            "attributes": {name: list(values) for name, values in dataset.attributes.items()},
            "aligned_bias": None if dataset.aligned_bias is None else list(dataset.aligned_bias),
            "mismatch": differences,
            "arrays": array_stamps(partial),
        }
        sealed = {**meta, "sha256": seal(meta)}
        write_atomically(partial / "meta.json", json.dumps(sealed, indent=1).encode())
        for path in partial.iterdir():  # what told how far it was, and what a kill left of that
            if path.suffix != ".npy" and path.name != "meta.json":
                path.unlink()
        _place(partial, folder, say)
    except Exception:  # not when it is interrupted: then what is there is gone on with
        shutil.rmtree(partial, ignore_errors=True)
        raise


def _read(dataset: Dataset, spec: Spec, manifest: Manifest) -> tuple[Mapping[str, Split], list[str]]:
    """Return the splits, sound, and how the data differ from what the manifest promises.

    Raises:
        DataError: The sources cannot be read, or the splits are not sound.
        PluginError: The dataset reads files that it does not declare.
    """
    wrong = wrong_files(manifest, dataset.source) if dataset.folder is not None else []
    try:
        splits = read_splits(dataset, spec.name)
    except (DataError, OSError) as error:
        if wrong:  # which is why
            raise DataError(
                f"{len(wrong)} source files of {spec.name!r} are damaged: {name_offenders(wrong)}."
            ) from error
        if isinstance(error, DataError):
            raise
        raise DataError(f"The sources of {spec.name!r} cannot be read: {error}.") from error
    declared = set(dataset.source_files())
    files = [image for split in splits.values() if not isinstance(split.inputs, np.ndarray) for image in split.inputs]
    if undeclared := [str(file) for file in files if isinstance(file, Path) and file not in declared]:
        raise PluginError(
            f"The dataset {spec.name!r} reads {len(undeclared)} files that its source_files() leaves out, so changes "
            f"to them would go unnoticed: {name_offenders(undeclared)}."
        )
    targets = {name: split.target for name, split in splits.items()}
    biases = {name: split.bias for name, split in splits.items()}
    counted = count_differences(targets, biases, manifest.counting(dataset.counts_hold(dataset.params)))
    # Relative, since the phrases go into records; and no more than a record holds.
    differences = [*counted, *(phrase.removeprefix(f"{dataset.source}{os.sep}") for phrase in wrong)]
    return splits, differences[:MOST_DIFFERENCES]


def _contents(splits: Mapping[str, Split]) -> dict[str, str]:
    """Digest what is to be written, the pixels of image files excepted; those are told by the sources' signature."""
    contents = {}
    for name, split in splits.items():
        digest = hashlib.sha256(labels_sha256(split.target, split.bias).encode())
        files = () if isinstance(split.inputs, np.ndarray) else map(str, split.inputs)
        for text in (*split.ids, *files):
            digest.update(f"{text}\n".encode(errors="surrogateescape"))
        contents[name] = digest.hexdigest()
    return contents


def _begin(partial: Path, plan: Mapping[str, Any]) -> None:
    """Make the folder that a store is built in, or keep what an interrupted build of the same plan left there."""
    text = json.dumps(plan, sort_keys=True)
    with contextlib.suppress(OSError, ValueError):
        if (partial / PLAN).read_text(encoding="utf-8") == text:
            return
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    write_atomically(partial / PLAN, text.encode())


def replaced(folder: Path) -> Path:
    """Return where the store that was at `folder` lies for the moment in which another takes its place."""
    return folder.with_name(f".{folder.name}.old")


def _place(partial: Path, folder: Path, say: Callable[[str], None]) -> None:
    """Move a whole store to its place."""
    old = replaced(folder)
    shutil.rmtree(old, ignore_errors=True)  # where a process was killed just here
    if not folder.exists():
        partial.replace(folder)
        return
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        before, after = (json.loads((path / "meta.json").read_text()) for path in (folder, partial))
        if before["fingerprint"] != after["fingerprint"]:
            say(f"Its fingerprint was {before['fingerprint'][:12]}: images, labels or the decoder are others now.")
    # Readers of the old store keep their maps: its files are unlinked, not overwritten.
    folder.replace(old)
    partial.replace(folder)
    shutil.rmtree(old, ignore_errors=True)


def array_stamps(folder: Path) -> dict[str, list[int]]:
    """Return the size and modification time (ns) of each array of a store, which tell whether it was changed."""
    states = {path.name: path.stat() for path in sorted(folder.glob("*.npy"))}
    return {name: [state.st_size, state.st_mtime_ns] for name, state in states.items()}


def seal(meta: Mapping[str, Any]) -> str:
    """Return the digest of a store's meta data, which are kept with it: a changed class name is damage too."""
    return hashlib.sha256(json.dumps(meta, sort_keys=True).encode()).hexdigest()


def _fingerprint(digests: Mapping[str, SplitDigest], dataset: Dataset) -> str:
    total = hashlib.sha256()
    for name, digest in digests.items():
        decoded_by = " ".join(decoder()) if digest.decoded else "none"
        total.update(f"{name} {digest.sha256} {decoded_by}\n".encode())
    total.update(json.dumps([list(dataset.class_names), list(dataset.bias_names)]).encode())
    return total.hexdigest()
