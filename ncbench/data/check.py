"""Whether the splits a dataset read are sound, and contain what its manifest promises."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from ncbench.contracts.dataset import Split
from ncbench.contracts.errors import DataError, name_offenders
from ncbench.data.manifest import Manifest

SPLITS = ("train", "val", "test")


def check_splits(splits: Mapping[str, Split], name: str, class_names: Sequence[str], bias_names: Sequence[str]) -> None:
    """Check what every dataset must hold to.

    Raises:
        DataError: A split is missing or unknown, lengths differ, images are not uint8 (N, H, W, C), a label is out of
            its range, an id appears twice, or a class has no training image; every offender is named.
    """
    problems = [f"there is no split {split!r}" for split in ("train", "test") if split not in splits]
    problems += [f"the split {split!r} is none of {', '.join(SPLITS)}" for split in splits if split not in SPLITS]
    for key, split in splits.items():
        problems += [f"{key}: {problem}" for problem in _problems(split, len(class_names), len(bias_names))]
    if not problems:
        counts = np.bincount(splits["train"].target, minlength=len(class_names))
        empty = [class_names[index] for index in np.flatnonzero(counts == 0).tolist()]
        if empty:
            problems.append(f"train: no images of {'class' if len(empty) == 1 else 'classes'} {name_offenders(empty)}")
    if problems:
        raise DataError(f"The dataset {name!r} is not sound: {'. '.join(problems)}.")


def _problems(split: Split, num_classes: int, num_bias: int) -> list[str]:
    problems = []
    number = len(split.images)
    if isinstance(split.images, np.ndarray) and (split.images.dtype != np.uint8 or split.images.ndim != 4):
        problems.append(f"images are {split.images.dtype} {split.images.shape} instead of uint8 (N, H, W, C)")
    if number == 0:
        problems.append("it has no images")
    labels = {"target": (split.target, num_classes)}
    if split.bias is not None:
        labels["bias"] = (split.bias, num_bias)
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


def check_counts(
    targets: Mapping[str, np.ndarray], biases: Mapping[str, np.ndarray | None], manifest: Manifest
) -> None:
    """Compare the splits with the manifest's counts.

    Args:
        targets: (N,) int64 classes of each split.
        biases: (N,) int64 bias attribute of each split, or None.
        manifest: Its `counts`; splits it does not list are not compared, ``val`` excepted.

    Raises:
        DataError: Something differs; the message names every count expected and found.
    """
    problems = count_problems(targets, biases, manifest)
    if problems:
        raise DataError(
            f"{manifest.name!r} does not contain what its manifest (version {manifest.version}) promises: "
            f"{'; '.join(problems)}."
        )


def count_problems(
    targets: Mapping[str, np.ndarray], biases: Mapping[str, np.ndarray | None], manifest: Manifest
) -> list[str]:
    """Return one phrase a count that differs; the arguments are those of :func:`check_counts`."""
    problems = []
    for split, expected in manifest.counts.items():
        if split not in targets:
            problems.append(f"{split}: expected {expected.images} images, found no such split")
            continue
        # A validation split that the protocol does not have was carved out of the training images.
        parts = [split, "val"] if split == "train" and "val" in targets and "val" not in manifest.counts else [split]
        target = np.concatenate([targets[part] for part in parts])
        if len(target) != expected.images:
            problems.append(f"{split}: expected {expected.images} images, found {len(target)}")
        if expected.classes is not None:
            found = tuple(np.bincount(target, minlength=len(expected.classes)).tolist())
            if found != expected.classes:
                problems.append(f"{split}: expected images a class {expected.classes}, found {found}")
        if expected.groups is not None:
            groups = _groups(target, [biases[part] for part in parts], expected.groups)
            if groups != expected.groups:
                problems.append(f"{split}: expected images a group (y, a) {expected.groups}, found {groups}")
    return problems


def _groups(
    target: np.ndarray, biases: Sequence[np.ndarray | None], expected: tuple[tuple[int, ...], ...]
) -> tuple[tuple[int, ...], ...] | None:
    known = [bias for bias in biases if bias is not None]
    if len(known) < len(biases):
        return None
    rows, columns = len(expected), len(expected[0])
    counts = np.zeros((max(rows, int(target.max(initial=0)) + 1), columns), dtype=np.int64)  # (K, B)
    bias = np.concatenate(known)
    if int(bias.max(initial=0)) >= columns:
        return None
    np.add.at(counts, (target, bias), 1)
    return tuple(tuple(row) for row in counts.tolist())
