"""The store: a dataset decoded once, as memory maps of uint8 images beside a table of labels.

A store is a folder ``<cache>/stores/<dataset>/<key>`` with, for each split, ``<split>.images.npy`` (N, H, W, C) uint8,
``<split>.target.npy`` and ``<split>.bias.npy`` (N,) int64, ``<split>.ids.npy`` (N,) text, and ``meta.json``. It is
built in a folder of another name and moved into place when it is whole, so whatever has the right name is whole. The
key is made of the spec and of where the sources lie: other parameters and other data roots get stores of their own.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import inspect
import json
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from filelock import FileLock, Timeout

from ncbench.contracts.dataset import Dataset, DatasetParameters
from ncbench.contracts.errors import DataError, name_offenders
from ncbench.contracts.specs import Spec
from ncbench.data.check import SPLITS, check_counts, check_splits
from ncbench.data.decode import DECODER, Framing
from ncbench.data.imbalance import RULE, imbalanced
from ncbench.data.manifest import Manifest
from ncbench.data.roots import cache_folder, unwritable
from ncbench.data.sources import signature, wrong_files
from ncbench.data.write import SplitDigest, bytes_needed, split_sha256, write_split

if TYPE_CHECKING:
    from ncbench.geometry import Hierarchy

FORMAT = 1  # raise it when the layout of a store changes: older stores are rebuilt


@dataclass(frozen=True, eq=False)
class StoredSplit:
    """One split of a store; the arrays are read-only.

    Args:
        images: (N, H, W, C) uint8 memory map.
        target: (N,) int64 classes.
        bias: (N,) int64 bias attribute, or None where it is unknown.
        ids: (N,) text memory map, identifiers that lead back to the source.
    """

    images: np.ndarray
    target: np.ndarray
    bias: np.ndarray | None
    ids: np.ndarray

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
        aligned_bias: For each class, the bias value that goes along with it in training, or None.
        hierarchy: Of the classes, or None.
    """

    name: str
    folder: Path
    fingerprint: str
    splits: Mapping[str, StoredSplit]
    class_names: Sequence[str]
    bias_names: Sequence[str]
    aligned_bias: Sequence[int] | None
    hierarchy: Hierarchy | None


def open_store(dataset: Dataset, spec: Spec, manifest: Manifest, report: Callable[[str], None] | None = None) -> Store:
    """Open a dataset's store, or build it first: when there is none, its sources changed, or its format is old.

    Args:
        dataset: Knows its sources and parameters.
        spec: Its canonical spec, with the dataset's name.
        manifest: Its counts and checksums are enforced.
        report: Called with one line about each thing that takes long.

    Raises:
        DataError: The sources are missing, damaged, or not what the manifest promises; or the cache folder cannot be
            written to.
    """
    say = report or (lambda line: None)
    manifest = manifest.counting(dataset.counts_hold)
    identity, folder = _identity(dataset, spec, manifest), store_folder(spec, _root(dataset))
    store = _load(folder, identity, dataset)
    if store is None:
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            with _locked(folder, say):
                store = _load(folder, identity, dataset)  # another process may have built it meanwhile
                if store is None:
                    if folder.exists():
                        say(f"The store {folder} is out of date; building it anew.")
                    _build(folder, identity, dataset, spec, manifest, say)
                    store = _load(folder, identity, dataset)
        except OSError as error:
            raise unwritable(cache_folder(), error) from error
    if store is None:
        raise DataError(f"The store {folder} was built but cannot be read back; check the disk it lies on.")
    if _imbalance(dataset) is not None:
        # The training images are a part by now; what they were taken from was counted when the store was built.
        others = {key: counts for key, counts in manifest.counts.items() if key != "train"}
        manifest = manifest.model_copy(update={"counts": others})
    check_counts(
        {key: split.target for key, split in store.splits.items()},
        {key: split.bias for key, split in store.splits.items()},
        manifest,
    )
    return store


def stored(dataset: Dataset, spec: Spec, manifest: Manifest) -> Store | None:
    """Open a dataset's store if there is a current one; never build it. The arguments are :func:`open_store`'s.

    Raises:
        DataError: The sources are missing.
    """
    return _load(store_folder(spec, _root(dataset)), _identity(dataset, spec, manifest), dataset)


def _root(dataset: Dataset) -> Path | None:
    return dataset.source if dataset.folder is not None else None


def _imbalance(dataset: Dataset) -> DatasetParameters | None:
    """Return the parameters of a dataset whose training images are to be thinned out; None for any other."""
    params = dataset.params
    return params if isinstance(params, DatasetParameters) and params.thinned else None


def framing_of(dataset: Dataset) -> Framing:
    """Return how a dataset's image files are fitted to its image size."""
    return Framing(dataset.image_size, dataset.shorter_side, dataset.cut_bottom)


def _identity(dataset: Dataset, spec: Spec, manifest: Manifest) -> dict[str, Any]:
    """Return what a store must have been built from to be current."""
    identity = {
        "format": FORMAT,
        "spec": str(spec),
        "version": manifest.version,
        "code": code_digest(type(dataset)),
        "sources": signature(dataset.source_files(), _root(dataset)),
        "image_size": list(dataset.image_size),
    }
    if (framing := framing_of(dataset)) != Framing(dataset.image_size):
        identity["framing"] = [framing.shorter_side, framing.cut_bottom]
    return identity if _imbalance(dataset) is None else {**identity, "imbalance": RULE}


def store_folder(spec: Spec, root: Path | None) -> Path:
    """Return where the store of a spec lies, whether it is there or not; `root` is the folder with the sources."""
    where = "" if root is None else str(root.resolve())
    digest = hashlib.sha256(f"{spec}\n{where}".encode()).hexdigest()[:12]
    readable = re.sub(r"[^\w.=-]+", "-", str(spec).partition(":")[2])[:60]
    return cache_folder() / "stores" / spec.name / (f"{readable}-{digest}" if readable else digest)


@contextlib.contextmanager
def _locked(folder: Path, say: Callable[[str], None]) -> Iterator[None]:
    lock = FileLock(folder.with_name(f".{folder.name}.lock"))
    try:
        lock.acquire(blocking=False)
    except Timeout:
        say(f"Another process is preparing {folder}; waiting for it.")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def code_digest(kind: type[Dataset]) -> str:
    """Digest the modules a dataset's class is made of, so that a store never outlives the code that filled it."""
    digest = hashlib.sha256()
    for base in kind.__mro__:
        if issubclass(base, Dataset) and base is not Dataset:
            source = inspect.getsourcefile(base)
            if source is not None and Path(source).is_file():
                digest.update(Path(source).read_bytes())
    return digest.hexdigest()


def _load(folder: Path, identity: Mapping[str, Any], dataset: Dataset) -> Store | None:
    """Open what lies at `folder` if it is the store asked for; None if it is another's, damaged or absent."""
    try:
        meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
        if {key: meta.get(key) for key in identity} != dict(identity):
            return None
        if any(entry["decoded"] for entry in meta["splits"].values()) and meta["decoder"] != list(DECODER):
            return None
        splits = {key: _load_split(folder, key, meta["splits"][key]) for key in SPLITS if key in meta["splits"]}
        return Store(
            name=meta["spec"].partition(":")[0],
            folder=folder,
            fingerprint=meta["fingerprint"],
            splits=splits,
            class_names=tuple(meta["class_names"]),
            bias_names=tuple(meta["bias_names"]),
            aligned_bias=None if meta["aligned_bias"] is None else tuple(meta["aligned_bias"]),
            hierarchy=dataset.hierarchy,
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError):
        return None


def _load_split(folder: Path, name: str, entry: Mapping[str, Any]) -> StoredSplit:
    images = np.load(folder / f"{name}.images.npy", mmap_mode="r", allow_pickle=False)
    target = np.load(folder / f"{name}.target.npy", allow_pickle=False)
    bias = np.load(folder / f"{name}.bias.npy", allow_pickle=False) if entry["bias"] else None
    ids = np.load(folder / f"{name}.ids.npy", mmap_mode="r", allow_pickle=False)
    if list(images.shape) != entry["shape"] or images.dtype != np.uint8:
        raise ValueError("not the images that were written")
    if any(array is not None and array.shape != images.shape[:1] for array in (target, bias, ids)):
        raise ValueError("not the labels that were written")
    for array in (target, bias):
        if array is not None:
            array.flags.writeable = False
    return StoredSplit(images, target, bias, ids)


def _build(
    folder: Path,
    identity: Mapping[str, Any],
    dataset: Dataset,
    spec: Spec,
    manifest: Manifest,
    say: Callable[[str], None],
) -> None:
    """Read, check and decode; the caller holds the store's lock."""
    if dataset.folder is not None and (bad := wrong_files(manifest, dataset.source)):
        raise DataError(f"{len(bad)} source files of {spec.name!r} are damaged: {name_offenders(bad)}.")
    try:
        splits = dataset.read()
    except OSError as error:
        raise DataError(f"The sources of {spec.name!r} cannot be read: {error}.") from error
    check_splits(splits, spec.name, dataset.class_names, dataset.bias_names)
    check_counts({k: s.target for k, s in splits.items()}, {k: s.bias for k, s in splits.items()}, manifest)
    if (params := _imbalance(dataset)) is not None:
        splits = {**splits, "train": imbalanced(splits["train"], params, dataset.class_names)}
    framing = framing_of(dataset)
    needed = sum(bytes_needed(split, framing.size) for split in splits.values())
    if needed > (free := shutil.disk_usage(folder.parent).free):
        raise OSError(errno.ENOSPC, f"the store needs {needed / 1e6:.0f} MB, {free / 1e6:.0f} MB are free")
    for left in folder.parent.glob(f".{folder.name}.partial-*"):  # a build that was killed; the lock says it is dead
        shutil.rmtree(left, ignore_errors=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}.partial-", dir=folder.parent))
    try:
        digests, bad = {}, []
        for name in SPLITS:
            if name in splits:
                digests[name], wrong = write_split(partial, name, splits[name], framing, say)
                bad += wrong
        if bad:
            raise DataError(f"{len(bad)} images of {spec.name!r} cannot be decoded: {name_offenders(bad)}.")
        meta = {
            **identity,
            "fingerprint": _fingerprint(digests, dataset),
            "decoder": list(DECODER),
            "splits": {name: digest.as_dict() for name, digest in digests.items()},
            "class_names": list(dataset.class_names),
            "bias_names": list(dataset.bias_names),
            "aligned_bias": None if dataset.aligned_bias is None else list(dataset.aligned_bias),
        }
        (partial / "meta.json").write_text(json.dumps(meta, indent=1), encoding="utf-8")
        partial.chmod(0o755)  # mkdtemp made it private; a shared cache is to be read by others
        if folder.exists():
            # Readers of the old store keep their maps: its files are unlinked, not overwritten.
            old = Path(tempfile.mkdtemp(prefix=f".{folder.name}.partial-", dir=folder.parent))
            folder.replace(old / "old")
            partial.replace(folder)
            shutil.rmtree(old, ignore_errors=True)
        else:
            partial.replace(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _fingerprint(digests: Mapping[str, SplitDigest], dataset: Dataset) -> str:
    total = hashlib.sha256()
    for name, digest in digests.items():
        decoder = " ".join(DECODER) if digest.decoded else "none"
        total.update(f"{name} {digest.sha256} {decoder}\n".encode())
    total.update(json.dumps([list(dataset.class_names), list(dataset.bias_names)]).encode())
    return total.hexdigest()


def rehash(store: Store) -> list[str]:
    """Hash a store's pixels and labels again; return one phrase a split whose digest is not the recorded one."""
    meta = json.loads((store.folder / "meta.json").read_text(encoding="utf-8"))
    return [
        f"{store.folder / f'{name}.images.npy'} or its labels changed since the store was built"
        for name, split in store.splits.items()
        if split_sha256(split.images, split.target, split.bias) != meta["splits"][name]["sha256"]
    ]
