"""Whether the splits a dataset read are sound, and contain what its manifest promises."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ncbench.contracts.cards import NAME
from ncbench.contracts.dataset import Dataset, ImageFile, Split
from ncbench.contracts.errors import DataError, name_offenders
from ncbench.contracts.groups import group_counts, ravel_attributes
from ncbench.data.sources.manifest import Manifest, SplitCounts, SplitName
from ncbench.data.sources.roots import how_to_get

SPLITS = ("train", "val", "test")
_SHOWN_WHOLE = 20  # cells; of a larger table of counts only the cells that differ are shown


def read_splits(dataset: Dataset, name: str) -> Mapping[str, Split]:
    """Read a dataset's splits, check them, and ravel several bias attributes into one.

    Raises:
        DataError: The sources cannot be read, or as :func:`check_splits`.
    """
    splits = dataset.read()
    check_splits(splits, name, dataset)
    sizes = [len(values) for values in dataset.attributes.values()]
    return {
        key: split
        if split.bias is None or split.bias.ndim == 1
        else replace(split, bias=ravel_attributes(split.bias, sizes))
        for key, split in splits.items()
    }


def check_splits(splits: Mapping[str, Split], name: str, dataset: Dataset) -> None:
    """Check what every dataset must hold to.

    Raises:
        DataError: A split is missing or unknown, lengths differ, inputs are neither uint8 images (N, H, W, C) of the
            declared size nor finite float32 vectors (N, D), a label is out of its range, an id appears twice, or a
            class has no training image; every offender is named.
    """
    class_names = dataset.class_names
    odd = [name for name in dataset.attributes if not NAME.fullmatch(name)]
    problems = [f"the attribute name {name!r} is no lower-case word" for name in odd]
    if dataset.attributes and len(dataset.bias_names) != math.prod(map(len, dataset.attributes.values())):
        problems.append("bias_names does not name the combinations of its attributes; leave it out")
    problems += [f"there is no split {split!r}" for split in ("train", "test") if split not in splits]
    problems += [f"the split {split!r} is none of {', '.join(SPLITS)}" for split in splits if split not in SPLITS]
    for key, split in splits.items():
        problems += [f"{key}: {problem}" for problem in _problems(split, dataset)]
    shapes = {split.inputs.shape[1:] for split in splits.values() if isinstance(split.inputs, np.ndarray)}
    if len(shapes) > 1:
        problems.append(f"its splits have inputs of different shapes: {', '.join(map(str, sorted(shapes)))}")
    if not problems:
        counts = np.bincount(splits["train"].target, minlength=len(class_names))
        empty = [class_names[index] for index in np.flatnonzero(counts == 0).tolist()]
        if empty:
            problems.append(f"train: no images of {'class' if len(empty) == 1 else 'classes'} {name_offenders(empty)}")
    if problems:
        raise DataError(f"The dataset {name!r} is not sound: {'. '.join(problems)}.")


def _problems(split: Split, dataset: Dataset) -> list[str]:
    problems = list(_input_problems(split.inputs, dataset.image_size))
    number = len(split.inputs)
    if number == 0:
        problems.append("it has no images")
    labels = {"target": (split.target, len(dataset.class_names))}
    if split.bias is not None and split.bias.shape == (number, len(dataset.attributes)):
        columns = zip(dataset.attributes.items(), split.bias.T, strict=True)
        labels |= {name: (values, len(names)) for (name, names), values in columns}
    elif split.bias is not None:
        labels["bias"] = (split.bias, len(dataset.bias_names))
    for label, (values, limit) in labels.items():
        if values.shape != (number,):
            problems.append(f"{number} images but {label} labels of shape {values.shape}")
        elif not np.issubdtype(values.dtype, np.integer):
            problems.append(f"{label} labels are {values.dtype}, not integers")
        else:
            outside = np.flatnonzero((values < 0) | (values >= limit))
            if outside.size:
                named = name_offenders([f"{split.ids[i]} has {values[i]}" for i in outside[:2000].tolist()])
                problems.append(f"{outside.size} {label} labels outside 0..{limit - 1}: {named}")
    if len(split.ids) != number:
        problems.append(f"{number} images but {len(split.ids)} ids")
    elif len(set(split.ids)) != number:
        twice = [identifier for identifier, times in Counter(split.ids).items() if times > 1]
        problems.append(f"{len(twice)} duplicate ids: {name_offenders(twice)}")
    return problems


def _input_problems(inputs: np.ndarray | Sequence[ImageFile], image_size: tuple[int, int] | None) -> Iterator[str]:
    if not isinstance(inputs, np.ndarray):
        if image_size is None:
            yield "it has image files, but the dataset says no image_size to decode them to"
    elif inputs.dtype == np.uint8 and inputs.ndim == 4:
        if image_size is not None and inputs.shape[1:3] != tuple(image_size):
            height, width = image_size
            yield f"images have shape {inputs.shape} instead of (N, {height}, {width}, C), by image_size"
    elif inputs.dtype == np.float32 and inputs.ndim == 2:
        pieces = (inputs[start : start + 4096] for start in range(0, len(inputs), 4096))  # they may lie on disk
        if wrong := sum(int((~np.isfinite(piece)).any(axis=1).sum()) for piece in pieces):
            yield f"{wrong} vectors have values that are not finite"
    else:
        yield f"inputs are {inputs.dtype} {inputs.shape} instead of uint8 (N, H, W, C) images or float32 (N, D) vectors"


def not_as_promised(differences: Sequence[str], manifest: Manifest, where: Path | None) -> DataError:
    """Return the error for data, in the folder `where`, that differ from what their manifest promises."""
    place = "" if where is None else f" in {where}"
    return DataError(
        f"{manifest.name!r}{place} is not what its manifest (version {manifest.version}) promises: "
        f"{name_offenders(differences)}. {how_to_get(manifest).removesuffix('.')}. Or go on with what is here: "
        "--allow-mismatch; the record will say so, and will not be ranked."
    )


def count_differences(
    targets: Mapping[str, np.ndarray], biases: Mapping[str, np.ndarray | None], manifest: Manifest
) -> list[str]:
    """Compare the splits with the manifest's counts.

    Args:
        targets: (N,) int64 classes of each split.
        biases: (N,) int64 bias attribute of each split, or None.
        manifest: Its `counts`; splits it does not list are not compared, ``val`` excepted. Its `lookalikes` give a
            name to data that differ from them.

    Returns:
        One phrase a count that differs, with what was expected and what was found; if the data are a known look-alike,
        the first phrase says so.
    """
    found = _differences(targets, biases, manifest.counts)
    if not found:
        return []
    names = [known.description for known in manifest.lookalikes if not _differences(targets, biases, known.counts)]
    return [*(f"it is {name}" for name in names), *found]


def _differences(
    targets: Mapping[str, np.ndarray],
    biases: Mapping[str, np.ndarray | None],
    counts: Mapping[SplitName, SplitCounts],
) -> list[str]:
    problems = []
    for split, expected in counts.items():
        if split not in targets:
            problems.append(f"{split}: expected {expected.images} images, found no such split")
            continue
        # A validation split that the protocol does not have was carved out of the training images.
        parts = [split, "val"] if split == "train" and "val" in targets and "val" not in counts else [split]
        target = np.concatenate([targets[part] for part in parts])
        if len(target) != expected.images:
            problems.append(f"{split}: expected {expected.images} images, found {len(target)}")
        if expected.classes is not None:
            problems += _table_problem(split, "class", np.array(expected.classes), np.bincount(target))
        if expected.groups is not None:
            known = [bias for part in parts if (bias := biases[part]) is not None]
            if len(known) < len(parts):
                problems.append(f"{split}: expected groups (y, a), found no bias attribute")
                continue
            bias = np.concatenate(known)
            groups = group_counts(target, bias, int(target.max(initial=0)) + 1, int(bias.max(initial=0)) + 1)
            problems += _table_problem(split, "group (y, a)", np.array(expected.groups), groups)
    return problems


def _table_problem(split: str, cell: str, expected: np.ndarray, found: np.ndarray) -> list[str]:
    """Return a phrase if two tables of counts differ; what lies outside of one of them counts as 0 there."""
    shape = tuple(map(max, expected.shape, found.shape))
    expected, found = (
        np.pad(table, [(0, size - have) for size, have in zip(shape, table.shape, strict=True)])
        for table in (expected, found)
    )
    if (expected == found).all():
        return []
    if expected.size <= _SHOWN_WHOLE:
        return [f"{split}: expected images a {cell} {_plain(expected)}, found {_plain(found)}"]
    cells = [
        f"{tuple(where) if len(where) > 1 else where[0]}: {expected[tuple(where)]}, found {found[tuple(where)]}"
        for where in np.argwhere(expected != found).tolist()
    ]
    return [f"{split}: expected other numbers of images a {cell}: {name_offenders(cells)}"]


def _plain(table: np.ndarray) -> tuple[object, ...]:
    return tuple(_plain(row) if row.ndim else int(row) for row in table)
