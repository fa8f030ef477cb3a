"""Re-read a dataset from its sources, and its store from the disk, and say everything that is wrong."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from ncbench.contracts.dataset import Dataset, Split
from ncbench.contracts.errors import DataError
from ncbench.contracts.specs import Spec
from ncbench.data.check import check_splits, count_problems
from ncbench.data.decode import Framing
from ncbench.data.decode_pool import decode_in_order
from ncbench.data.manifest import Manifest
from ncbench.data.sources import signature, wrong_files
from ncbench.data.store import framing_of, rehash, stored


def verify(dataset: Dataset, spec: Spec, manifest: Manifest, report: Callable[[str], None] | None = None) -> list[str]:
    """Check the sources' checksums, decode every image, compare every count, and hash the store again, if there is one.

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
        splits = dataset.read()
        check_splits(splits, spec.name, dataset.class_names, dataset.bias_names)
    except (DataError, OSError) as error:
        return [*problems, str(error)]
    problems += count_problems(
        {key: split.target for key, split in splits.items()},
        {key: split.bias for key, split in splits.items()},
        manifest.counting(dataset.counts_hold),
    )
    problems += _undecodable(splits, framing_of(dataset), say)
    store = stored(dataset, spec, manifest)
    if store is None:
        say("There is no store yet, or an outdated one.")
        return problems
    say(f"Hashing the store {store.folder}")
    return problems + rehash(store)


def _undecodable(splits: Mapping[str, Split], framing: Framing, say: Callable[[str], None]) -> list[str]:
    problems = []
    for name, split in splits.items():
        if isinstance(split.images, np.ndarray):
            continue
        say(f"Decoding {len(split.images)} {name} images")
        done = 0
        for images, reasons in decode_in_order(split.images, framing):
            problems += [f"{split.images[done + i]} ({reason})" for i, reason in enumerate(reasons) if reason]
            done += len(images)
    return problems
