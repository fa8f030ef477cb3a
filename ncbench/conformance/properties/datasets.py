"""Checks of datasets, on the synthetic twin; an embedded dataset is read as it is."""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from ncbench.conformance.properties.common import (
    CHECKS_OF_CARDS,
    CHECKS_OF_PARAMETERS,
    require_backbone,
    variants,
)
from ncbench.conformance.subject import ConformanceError, Property, Skipped, Subject, builds_on, require, saying
from ncbench.conformance.surroundings import no_files_left, require_unseeded, temporary_folder
from ncbench.contracts.dataset import Dataset, Split
from ncbench.contracts.errors import DataError
from ncbench.data.sources.manifest import load_manifest
from ncbench.data.store.check import check_splits
from ncbench.data.store.decode import Framing, decode_in_order
from ncbench.data.store.open import Store, open_store
from ncbench.data.store.prepare import write_twin
from ncbench.discovery.registry import registry
from ncbench.training.recipe import Recipe
from ncbench.training.seeding import seed_global_generators
from ncbench.training.selection import criteria


def manifest_is_valid(subject: Subject) -> None:
    """The manifest has the card's name, and its recipe, backbone, metric and selection are ones that exist."""
    with saying("the manifest"):
        manifest = load_manifest(subject.card.manifest)
        Recipe.build(manifest.recipe, owner="the recipe")
        require_backbone(manifest.backbone)
        require(manifest.name == subject.card.name, f"it is of {manifest.name!r}")
        require(manifest.selection in criteria(), f"its selection {manifest.selection!r} is no criterion")
        known = manifest.primary_metric in registry().measures()
        require(known, f"its primary metric {manifest.primary_metric!r} is unknown")


def writes_a_twin(subject: Subject) -> None:
    """The twin is written into an empty folder, below the dataset's own, and is the same each time."""
    if subject.factory.folder is None:
        raise Skipped("the dataset is embedded and needs no twin")
    folder = Path(subject.factory.folder)
    first = _twin(subject.factory)
    with temporary_folder() as second:
        subject.factory.synthesize(second)
        for root in (first, second):
            outside = [path.name for path in root.iterdir() if path.name != folder.parts[0]]
            require(not outside, f"it writes {', '.join(outside)} beside its folder {str(folder)!r}")
        different = _difference(_dataset(subject, first).read(), _dataset(subject, second).read())
        if different and not _read_twice(subject, first):  # which reads_the_same_each_time reports
            raise ConformanceError(f"a second twin has other {different}")


def reads_sound_splits(subject: Subject) -> None:
    """There are training and test images of the declared size, or vectors, with labels in range and ids of their own.

    Every class has training images, `has_val` is true if it is said, and what the manifest promises of an embedded
    dataset holds.
    """
    root = _root(subject)
    dataset = _dataset(subject, root)
    size = dataset.image_size
    with _store(subject, root) as store:
        says, has = dataset.has_val, "val" in store.splits
        require(says in (None, has), f"has_val is {says}, but it reads {'a' if has else 'no'} validation split")
        for name, split in store.splits.items():
            if split.inputs.ndim == 2:
                require(size is None, f"{name}: its inputs are vectors, which have no image_size")
                continue
            _, height, width, channels = split.inputs.shape
            require((height, width) == size, f"{name}: images of {height} x {width} pixels, image_size is {size}")
            require(channels in (1, 3), f"{name}: images have {channels} channels")


def names_fit_the_labels(subject: Subject) -> None:
    """Classes and attribute values have names of their own, and hierarchy and alignment are of these classes."""
    dataset = _dataset(subject, _root(subject))
    classes, values = list(dataset.class_names), list(dataset.bias_names)
    require(len(classes) >= 2, f"there are {len(classes)} classes")
    for what, names in (("class", classes), ("attribute", values)):
        require(all(isinstance(name, str) and name for name in names), f"a {what} name is empty or no text")
        twice = sorted({name for name in names if names.count(name) > 1})
        require(not twice, f"{what} names occur twice: {', '.join(twice[:20])}")
    known = [name for name, split in dataset.read().items() if split.bias is not None]
    require(bool(known) == bool(values), f"{len(values)} attribute values, known on {', '.join(known) or 'no split'}")
    if dataset.hierarchy is not None:
        same = list(dataset.hierarchy.classes) == classes
        require(same, "the hierarchy's classes are not class_names, in their order")
    if dataset.aligned_bias is not None:
        aligned = list(dataset.aligned_bias)
        fits = len(aligned) == len(classes) and all(0 <= value < len(values) for value in aligned)
        require(fits, f"aligned_bias must have an attribute value for each of the {len(classes)} classes")


def reads_the_same_each_time(subject: Subject) -> None:
    """The same sources give the same images, labels and ids, whatever the global generators' state."""
    different = _read_twice(subject, _root(subject))
    require(not different, f"read a second time it has other {different}")


@builds_on(reads_sound_splits)
def reads_with_any_choice_of_parameters(subject: Subject) -> None:
    """Every named choice and every switch among the dataset's own parameters gives sound splits."""
    for variant in variants(subject):
        with saying(f"as {variant.spec}"):
            dataset = _dataset(variant, _root(variant))
            check_splits(dataset.read(), str(variant.spec), dataset)


@builds_on(reads_the_same_each_time)
def lists_all_its_sources(subject: Subject) -> None:
    """Every source file exists, below the dataset's folder, and nothing else is needed to read the splits."""
    root = _root(subject)
    dataset = _dataset(subject, root)
    files = list(dataset.source_files())
    if root is None:
        require(not files, "an embedded dataset has no source files")
        return
    require(bool(files), "source_files() returns nothing")
    missing = [str(path) for path in files if not path.is_file()]
    require(not missing, f"listed but not there: {', '.join(missing[:20])}")
    outside = [str(path) for path in files if not path.is_relative_to(dataset.source)]
    require(not outside, f"listed but not below {dataset.source}: {', '.join(outside[:20])}")
    with temporary_folder() as elsewhere, saying("with the listed files alone"):
        for path in files:
            target = elsewhere / path.relative_to(root)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
        different = _difference(dataset.read(), _dataset(subject, elsewhere).read())
        require(not different, f"it has other {different}")


def reports_missing_sources(subject: Subject) -> None:
    """Without its folder, with an empty one or with a file missing, it raises a DataError, if it raises."""
    if subject.factory.folder is None:
        raise Skipped("the dataset is embedded")
    with temporary_folder() as root:
        for state in ("without its folder", "with an empty folder"):
            with saying(f"{state}, of source_files(),"), contextlib.suppress(DataError):
                _dataset(subject, root).source_files()
                require(False, "it raises nothing")
            (root / subject.factory.folder).mkdir(parents=True, exist_ok=True)
    for path in _files_of_each_kind(subject):
        _reads_or_reports(subject, path, None, f"without {path.name}")


def reports_damaged_sources(subject: Subject) -> None:
    """With a file cut in half it raises a DataError, if it raises; with one that is empty, it must."""
    if subject.factory.folder is None:
        raise Skipped("the dataset is embedded")
    for path in _files_of_each_kind(subject):
        content = path.read_bytes()
        _reads_or_reports(subject, path, content[: len(content) // 2], f"with {path.name} cut in half")
        went_on = _reads_or_reports(subject, path, b"", f"with {path.name} empty")
        require(not went_on, f"with {path.name} empty it reads on as if nothing were wrong")


def leaves_global_state_alone(subject: Subject) -> None:
    """It does not seed a global generator or change a setting of torch."""

    def run(seed: int) -> None:
        seed_global_generators(seed)
        _read(subject)

    require_unseeded(run)


def writes_no_files(subject: Subject) -> None:
    """Reading leaves the sources as they are, and nothing in the working, the home or the temporary folder."""
    root = _root(subject)
    before = _contents(root)
    with no_files_left():
        _read(subject)
    require(_contents(root) == before, "reading changes its sources")


CHECKS: Sequence[Property] = (
    *CHECKS_OF_CARDS,
    *CHECKS_OF_PARAMETERS,
    manifest_is_valid,
    writes_a_twin,
    *map(
        builds_on(writes_a_twin),
        (
            reads_sound_splits,
            names_fit_the_labels,
            reads_the_same_each_time,
            reads_with_any_choice_of_parameters,
            lists_all_its_sources,
            reports_missing_sources,
            reports_damaged_sources,
            leaves_global_state_alone,
            writes_no_files,
        ),
    ),
)


def _dataset(subject: Subject, root: Path | None) -> Dataset:
    dataset: Dataset = subject.factory(subject.params, root)
    return dataset


def _read(subject: Subject) -> None:
    dataset = _dataset(subject, _root(subject))
    dataset.source_files()
    dataset.read()


def _root(subject: Subject) -> Path | None:
    """Return a data root with the twin; None for an embedded dataset."""
    return None if subject.factory.folder is None else _twin(subject.factory)


@functools.cache
def _twin(factory: type[Dataset]) -> Path:
    """Write a dataset's twin once in this process."""
    root = Path(tempfile.mkdtemp(prefix="ncbench-conformance-"))
    atexit.register(shutil.rmtree, root, ignore_errors=True)
    write_twin(factory, root)
    return root


@contextlib.contextmanager
def _store(subject: Subject, root: Path | None) -> Iterator[Store]:
    """Build the dataset's store as the first run on it does, below a cache folder of its own."""
    manifest = load_manifest(subject.card.manifest)
    spec = subject.params.spec(subject.card.name)
    with temporary_folder() as cache, patch.dict(os.environ, {"NCBENCH_CACHE": str(cache)}):
        yield open_store(_dataset(subject, root), spec, manifest if root is None else manifest.for_twin())


def _files_of_each_kind(subject: Subject) -> list[Path]:
    """Return the first and the last source file of each suffix."""
    files = sorted(_dataset(subject, _root(subject)).source_files())
    first, last = ({path.suffix: path for path in order} for order in (reversed(files), files))
    return sorted({*first.values(), *last.values()})


def _reads_or_reports(subject: Subject, path: Path, content: bytes | None, state: str) -> bool:
    """Read sources of which one file has another content, or is gone; return whether that went well.

    Of image files the changed one is decoded, and some that lie inside other files. An OSError counts as a DataError,
    which the store makes of it.

    Raises:
        ConformanceError: Anything else was raised.
    """
    root = _root(subject)
    assert root is not None, "an embedded dataset has no files"
    with temporary_folder() as place, saying(state):
        copy = shutil.copytree(root, place / "root", copy_function=os.link)  # a link to each file: nothing is copied
        changed = copy / path.relative_to(root)
        changed.unlink()
        if content is not None:
            changed.write_bytes(content)
        dataset = _dataset(subject, copy)
        try:
            splits = dataset.read()
            check_splits(splits, subject.spec.name, dataset)
            images = [image for split in splits.values() if not _decoded(split) for image in split.inputs]
            packed = [image for image in images if not isinstance(image, Path)]
            files = [image for image in images if image == changed] + packed[:: max(1, len(packed) // 50)]
            framing = Framing.of(dataset)
            chunks = [] if framing is None else decode_in_order(files, framing)
            return not any(reason for _, reasons in chunks for reason in reasons)
        except (DataError, OSError):
            return False


def _decoded(split: Split) -> bool:
    return isinstance(split.inputs, np.ndarray)


def _read_twice(subject: Subject, root: Path | None) -> str:
    """Return what differs between two readings of the same sources, or an empty string."""
    reads = []
    for seed in (1, 2):
        seed_global_generators(seed)
        reads.append(_dataset(subject, root).read())
    return _difference(*reads)


def _difference(first: Mapping[str, Split], second: Mapping[str, Split]) -> str:
    """Return what differs between two readings, or an empty string."""
    if first.keys() != second.keys():
        return "splits"
    for name, split in first.items():
        other = second[name]
        same = {
            "inputs": np.array_equal(_content(split), _content(other)),
            "targets": np.array_equal(split.target, other.target),
            "attribute values": np.array_equal(np.asarray(split.bias), np.asarray(other.bias)),  # also None and None
            "ids": list(split.ids) == list(other.ids),
        }
        if different := [part for part, equal in same.items() if not equal]:
            return f"{different[0]} in the {name} split"
    return ""


def _content(split: Split) -> Any:
    """Return the inputs as they are, or the content of every image file."""
    if _decoded(split):
        return split.inputs
    return np.array([file.read_bytes() for file in split.inputs], dtype=object)


def _contents(root: Path | None) -> list[tuple[Path, int, int]]:
    """Return the path, size and modification time of every file below a folder."""
    files = [] if root is None else [path for path in sorted(root.rglob("*")) if path.is_file()]
    return [(path, path.stat().st_size, path.stat().st_mtime_ns) for path in files]
