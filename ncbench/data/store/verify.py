"""Re-read a dataset from its sources, and its store from the disk, and say everything that is wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from ncbench.contracts.dataset import Dataset, Split
from ncbench.contracts.errors import DataError, name_offenders
from ncbench.contracts.specs import Spec
from ncbench.data.sources.integrity import signature, wrong_files
from ncbench.data.sources.manifest import Manifest
from ncbench.data.store.check import count_differences, read_splits
from ncbench.data.store.decode import Framing, decode_in_order
from ncbench.data.store.imbalance import thinned
from ncbench.data.store.open import StoredSplit, damaged_splits, stored

_BLOCK = 256  # images compared at once


def verify(dataset: Dataset, spec: Spec, manifest: Manifest, report: Callable[[str], None] | None = None) -> list[str]:
    """Check the sources' checksums, decode every image, compare every count, and compare all of it with the store.

    A store that is hashed and found as it was built is what the sources gave then. So an image that still decodes, but
    to other pixels, is noticed even where no checksum of it was ever published.

    Args:
        dataset: Knows its sources and parameters.
        spec: Its canonical spec.
        manifest: Its checksums and counts.
        report: Called with one line about each step.

    Returns:
        One phrase a problem; none if all is well.
    """
    say = report or (lambda line: None)
    problems: list[str] = []
    if dataset.folder is not None:
        say("Checking the source files")
        problems += wrong_files(manifest, dataset.source)
    try:
        if dataset.folder is not None:
            signature(dataset.source_files(), dataset.source)
        splits = read_splits(dataset, spec.name)
        problems += count_differences(
            {name: split.target for name, split in splits.items()},
            {name: split.bias for name, split in splits.items()},
            manifest.counting(dataset.counts_hold(dataset.params)),
        )
        kept = thinned(splits, spec, dataset.class_names)
        store = stored(dataset, spec, manifest)
    except (DataError, OSError) as error:
        return [*problems, str(error)]
    before: dict[str, StoredSplit] = {}
    if store is None:
        say("There is no store yet, or one of another version.")
    else:
        say(f"Hashing the store {store.folder}")
        damaged = damaged_splits(store)
        arrays = [store.folder / f"{name}.inputs.npy" for name in damaged]
        remedy = f"delete {store.folder}, the next run builds it anew"
        problems += [f"{array} or its labels changed since the store was built: {remedy}" for array in arrays]
        before = {name: split for name, split in store.splits.items() if name not in damaged}
        problems += [f"{name}: there was no such split before" for name in kept if name not in store.splits]
        problems += [f"{name}: the split is gone" for name in store.splits if name not in kept]
    for name, split in splits.items():
        say(f"Reading {len(split.inputs)} {name} images")
        try:
            problems += _split_problems(name, split, Framing.of(dataset), before.get(name), kept[name])
        except DataError as error:
            problems.append(str(error))
    return problems


def _split_problems(
    name: str, split: Split, framing: Framing | None, before: StoredSplit | None, kept: Split
) -> Iterator[str]:
    """Say which images of a split cannot be decoded, and what of those kept is not as it was when it was stored."""
    rows: dict[str, int] = {}
    if before is not None:
        rows = {identifier: row for row, identifier in enumerate(before.ids.tolist())}
        yield from _label_problems(name, kept, before, rows)
    changed = []
    for start, inputs, reasons in _inputs(split, framing):
        yield from (f"{split.inputs[start + i]} ({reason})" for i, reason in enumerate(reasons) if reason)
        if before is None:
            continue
        whole = [i for i, reason in enumerate(reasons) if not reason and split.ids[start + i] in rows]
        there = before.inputs[[rows[split.ids[start + i]] for i in whole]]
        same_shape = inputs.shape[1:] == there.shape[1:]
        differs = [not same_shape or bool((inputs[i] != then).any()) for i, then in zip(whole, there, strict=True)]
        changed += [split.ids[start + i] for i, other in zip(whole, differs, strict=True) if other]
    if changed:
        yield f"{name}: {len(changed)} images changed since the store was built: {name_offenders(changed)}"


def _label_problems(name: str, kept: Split, before: StoredSplit, rows: dict[str, int]) -> Iterator[str]:
    ids = set(kept.ids)
    if new := [identifier for identifier in kept.ids if identifier not in rows]:
        yield f"{name}: {len(new)} images are new since the store was built: {name_offenders(new)}"
    if gone := [identifier for identifier in rows if identifier not in ids]:
        yield f"{name}: {len(gone)} images are gone since the store was built: {name_offenders(gone)}"
    positions = [i for i, identifier in enumerate(kept.ids) if identifier in rows]
    then = [rows[kept.ids[i]] for i in positions]
    differs = kept.target[positions] != before.target[then]
    if kept.bias is not None and before.bias is not None:
        differs |= kept.bias[positions] != before.bias[then]
    elif (kept.bias is None) != (before.bias is None):
        yield f"{name}: the bias attribute {'was' if before.bias is None else 'is'} unknown"
    if differs.any():
        others = [kept.ids[positions[i]] for i in np.flatnonzero(differs).tolist()]
        yield f"{name}: the labels of {len(others)} images changed since the store was built: {name_offenders(others)}"


def _inputs(split: Split, framing: Framing | None) -> Iterator[tuple[int, np.ndarray, list[str]]]:
    """Yield (position of the first, n images or vectors, n reasons why an image cannot be decoded or "")."""
    if isinstance(split.inputs, np.ndarray) or framing is None:
        for start in range(0, len(split.inputs), _BLOCK):
            inputs = np.asarray(split.inputs[start : start + _BLOCK])
            yield start, inputs, [""] * len(inputs)
        return
    start = 0
    for images, reasons in decode_in_order(split.inputs, framing):
        yield start, images, reasons
        start += len(images)
