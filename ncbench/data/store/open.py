"""The store: a dataset decoded once, as memory maps of images or feature vectors beside a table of labels.

A store is a folder ``<cache>/stores/<dataset>/<key>`` with, for each split, ``<split>.inputs.npy``, (N, H, W, C) uint8
images or (N, D) float32 vectors, ``<split>.target.npy`` and ``<split>.bias.npy`` (N,) int64, ``<split>.ids.npy`` (N,)
text, and ``meta.json``. The key is made of the spec and of where the sources lie: other parameters and other data roots
get stores of their own.

It is built in a folder of another name and moved into place when it is whole, so whatever has the right name was whole.
Opening it does not read all pixels, which may be many gigabytes: the sizes and modification times of its files tell
whether they were changed since, and a small store is hashed besides. A changed one is built anew.
:mod:`ncbench.data.store.verify` reads them all.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ncbench.contracts.dataset import Dataset, Thinning
from ncbench.contracts.errors import DataError, lacking
from ncbench.contracts.specs import Spec
from ncbench.data.files import locked
from ncbench.data.sources.integrity import signature
from ncbench.data.sources.manifest import Manifest
from ncbench.data.sources.roots import cache_folder, unwritable
from ncbench.data.store.build import array_stamps, build, replaced, seal
from ncbench.data.store.check import SPLITS, not_as_promised
from ncbench.data.store.decode import Framing, decoder
from ncbench.data.store.imbalance import RULE
from ncbench.data.store.write import labels_sha256, split_sha256

if TYPE_CHECKING:
    from ncbench.geometry import Hierarchy

_QUICKLY_HASHED = 1 << 28  # bytes; a fraction of a second
FORMAT = 4  # raise it when the layout of a store changes: older stores are rebuilt


@dataclass(frozen=True, eq=False)
class StoredSplit:
    """One split of a store; the arrays are read-only.

    Args:
        inputs: Memory map of (N, H, W, C) uint8 images or (N, D) float32 feature vectors.
        target: (N,) int64 classes.
        bias: (N,) int64 bias attribute, or None where it is unknown.
        ids: (N,) text memory map, identifiers that lead back to the source.
    """

    inputs: np.ndarray
    target: np.ndarray
    bias: np.ndarray | None
    ids: np.ndarray

    @property
    def input_shape(self) -> tuple[int, ...]:
        """As a backbone sees it: (C, H, W) of an image, or (D,) of a vector."""
        *size, last = self.inputs.shape[1:]
        return (last, *size)

    def __len__(self) -> int:
        return len(self.target)


@dataclass(frozen=True, eq=False)
class Store:
    """A prepared dataset.

    Args:
        name: The dataset's name.
        folder: Where the store lies.
        fingerprint: Hex digest over every pixel and label, and over the decoder where one was used.
        splits: By name, in the order train, val, test.
        class_names: K names.
        bias_names: B names; empty if the attribute is unknown.
        attributes: Name -> value names of the bias attributes that are raveled into the one; empty if it is one.
        aligned_bias: For each class, the bias value that goes along with it in training, or None.
        hierarchy: Of the classes, or None.
        mismatch: How the data differ from the ones the manifest describes, a phrase each; empty if they don't.
        features: Key of the frozen backbone's features, where these are the inputs; None where the images are.
    """

    name: str
    folder: Path
    fingerprint: str
    splits: Mapping[str, StoredSplit]
    class_names: Sequence[str]
    bias_names: Sequence[str]
    attributes: Mapping[str, Sequence[str]]
    aligned_bias: Sequence[int] | None
    hierarchy: Hierarchy | None
    mismatch: Sequence[str]
    features: str | None = None


def open_store(
    dataset: Dataset,
    spec: Spec,
    manifest: Manifest,
    report: Callable[[str], None] | None = None,
    *,
    allow_mismatch: bool = False,
) -> Store:
    """Open a dataset's store, or build it first: when there is none, it or its sources changed, or its format is old.

    Args:
        dataset: Knows its sources and parameters.
        spec: Its canonical spec, with the dataset's name.
        manifest: Its counts and checksums are enforced.
        report: Called with one line about each thing that takes long.
        allow_mismatch: Go on with data that are not what the manifest promises; the store says how they differ.

    Raises:
        DataError: The sources are missing, damaged, or not what the manifest promises; or the cache folder cannot be
            written to.
        PluginError: The dataset reads files that it does not declare.
    """
    say = report or (lambda line: None)
    identity, folder = _identity(dataset, spec, manifest), store_folder(spec, _root(dataset))
    try:
        store = _load_unchanged(folder, identity, dataset)
        if store is None or replaced(folder).exists():
            folder.parent.mkdir(parents=True, exist_ok=True)
            with locked(folder.with_name(f".{folder.name}.lock"), f"preparing {folder}", say):
                store = _load_unchanged(folder, identity, dataset)  # another process may have built it meanwhile
                if store is not None:  # and been killed before it had removed the old one
                    shutil.rmtree(replaced(folder), ignore_errors=True)
                if store is None:
                    if folder.exists():
                        say(f"The store {folder} is out of date, or was changed since it was built; building it anew.")
                    build(folder, identity, dataset, spec, manifest, say, allow_mismatch)
                    store = _load_unchanged(folder, identity, dataset)
    except OSError as error:
        raise unwritable(cache_folder(), error) from error
    if store is None:
        raise DataError(f"The store {folder} was built but cannot be read back; check the disk it lies on.")
    if store.mismatch and not allow_mismatch:
        raise not_as_promised(store.mismatch, manifest, _root(dataset))
    return store


def stored(dataset: Dataset, spec: Spec, manifest: Manifest) -> Store | None:
    """Open a dataset's store if there is one of these parameters, whether or not it or its sources were touched since.

    Never builds it. The arguments are :func:`open_store`'s.

    Raises:
        DataError: The sources are missing.
    """
    identity = _identity(dataset, spec, manifest)
    del identity["sources"]
    return _load(store_folder(spec, _root(dataset)), identity, dataset)


def stores_of(name: str) -> dict[Path, int]:
    """Return the folders of a dataset's stores of the present format, and the bytes each takes."""
    found = {}
    for meta in sorted((cache_folder() / "stores" / name).glob("*/meta.json")):
        # One that another process replaces meanwhile is none.
        with contextlib.suppress(OSError, ValueError, AttributeError):
            if json.loads(meta.read_text(encoding="utf-8")).get("format") == FORMAT:
                found[meta.parent] = sum(path.stat().st_size for path in meta.parent.iterdir())
    return found


def _root(dataset: Dataset) -> Path | None:
    return dataset.source if dataset.folder is not None else None


def _identity(dataset: Dataset, spec: Spec, manifest: Manifest) -> dict[str, Any]:
    """Return what a store must have been built from to be current."""
    promises = manifest.counting(dataset.counts_hold(dataset.params)).model_dump_json(
        include={"counts", "files", "lookalikes"}
    )
    framing = Framing.of(dataset)
    return {
        "format": FORMAT,
        "spec": str(spec),
        "version": manifest.version,
        "promises": hashlib.sha256(promises.encode()).hexdigest(),
        "sources": signature(dataset.source_files(), _root(dataset)),
        "framing": framing and [*framing.size, framing.shorter_side, framing.cut_bottom],
        "imbalance": RULE if Thinning.of(spec) else None,
    }


def store_folder(spec: Spec, root: Path | None) -> Path:
    """Return where the store of a spec lies, whether it is there or not; `root` is the folder with the sources."""
    where = "" if root is None else str(root.resolve())
    digest = hashlib.sha256(f"{spec}\n{where}".encode()).hexdigest()[:12]
    readable = re.sub(r"[^\w.=-]+", "-", str(spec).partition(":")[2])[:60]
    return cache_folder() / "stores" / spec.name / (f"{readable}-{digest}" if readable else digest)


def _load_unchanged(folder: Path, identity: Mapping[str, Any], dataset: Dataset) -> Store | None:
    """Open what lies at `folder` if it is the store asked for, and its arrays were not touched since it was built."""
    try:
        arrays = array_stamps(folder)
    except OSError as error:  # another process replaces it just now
        if lacking(error):  # which says nothing of the store
            raise
        return None
    store = _load(folder, {**identity, "arrays": arrays}, dataset)
    if store is not None and sum(size for size, _ in arrays.values()) <= _QUICKLY_HASHED and damaged_splits(store):
        return None
    return store


def _load(folder: Path, identity: Mapping[str, Any], dataset: Dataset) -> Store | None:
    """Open what lies at `folder` if it is the store asked for; None if it is another's, damaged or absent."""
    try:
        meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
        if meta.pop("sha256") != seal(meta):
            return None
        if {key: meta.get(key) for key in identity} != dict(identity):
            return None
        if any(entry["decoded"] for entry in meta["splits"].values()) and meta["decoder"] != decoder():
            return None
        splits = {key: _load_split(folder, key, meta["splits"][key]) for key in SPLITS if key in meta["splits"]}
        return Store(
            name=meta["spec"].partition(":")[0],
            folder=folder,
            fingerprint=meta["fingerprint"],
            splits=splits,
            class_names=tuple(meta["class_names"]),
            bias_names=tuple(meta["bias_names"]),
            attributes={key: tuple(values) for key, values in meta["attributes"].items()},
            aligned_bias=None if meta["aligned_bias"] is None else tuple(meta["aligned_bias"]),
            hierarchy=dataset.hierarchy,
            mismatch=tuple(meta["mismatch"]),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError) as error:
        if lacking(error):
            raise
        return None


def _load_split(folder: Path, name: str, entry: Mapping[str, Any]) -> StoredSplit:
    inputs = np.load(folder / f"{name}.inputs.npy", mmap_mode="r", allow_pickle=False)
    target = np.load(folder / f"{name}.target.npy", allow_pickle=False)
    bias = np.load(folder / f"{name}.bias.npy", allow_pickle=False) if entry["bias"] else None
    ids = np.load(folder / f"{name}.ids.npy", mmap_mode="r", allow_pickle=False)
    if list(inputs.shape) != entry["shape"] or inputs.dtype != (np.uint8 if inputs.ndim == 4 else np.float32):
        raise ValueError("not the inputs that were written")
    if any(array is not None and array.shape != inputs.shape[:1] for array in (target, bias, ids)):
        raise ValueError("not the labels that were written")
    if labels_sha256(target, bias) != entry["labels"]:
        raise ValueError("the labels changed")
    for array in (target, bias):
        if array is not None:
            array.flags.writeable = False
    return StoredSplit(inputs, target, bias, ids)


def damaged_splits(store: Store) -> list[str]:
    """Hash a store's pixels and labels again; return the names of the splits that are not as they were built."""
    meta = json.loads((store.folder / "meta.json").read_text(encoding="utf-8"))
    return [
        name
        for name, split in store.splits.items()
        if split_sha256(split.inputs, split.target, split.bias) != meta["splits"][name]["sha256"]
    ]
