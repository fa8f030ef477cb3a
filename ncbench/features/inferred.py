"""Inferred groups on disk, beside the model of the run that inferred them.

The file ``groups.npz`` in the run folder holds ``train`` (N,) and, where the inference annotates them, ``val`` (M,), in
the smallest unsigned type, and ``count``.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ncbench.contracts.errors import DataError, PluginError
from ncbench.contracts.groups import agreement
from ncbench.data.files import write_atomically
from ncbench.data.store.open import Store
from ncbench.features.arrays import read_npz
from ncbench.records.folder import GROUPS_FILE, make_again

if TYPE_CHECKING:
    from ncbench.contracts.task import Groups


def write_groups(groups: Groups, store: Store, folder: Path) -> dict[str, Any]:
    """Write inferred groups atomically into a run folder, and return what its record says of them.

    Args:
        groups: Of the store's images.
        store: The dataset, whose attribute tells how good they are.
        folder: The run's.
    """
    import numpy as np

    kind, train = np.min_scalar_type(groups.count - 1), groups.train.cpu().numpy()
    arrays: dict[str, Any] = {"train": train.astype(kind), "count": np.int64(groups.count)}
    if groups.val is not None:
        arrays["val"] = groups.val.cpu().numpy().astype(kind)
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    write_atomically(folder / GROUPS_FILE, buffer.getvalue())
    split = store.splits["train"]
    return {
        "digest": hashlib.sha256(buffer.getvalue()).hexdigest(),
        "sizes": np.bincount(train, minlength=groups.count).tolist(),
        "agreement": {} if split.bias is None else agreement(train, split.target, split.bias, store.aligned_bias),
    }


def read_groups(folder: Path, digest: str, sizes: Mapping[str, int]) -> Groups:
    """Read the groups of a run folder.

    Args:
        folder: The run's.
        digest: SHA-256 that the file has by the run's record.
        sizes: Split -> its number of images.

    Raises:
        DataError: The file is gone, another one than the record says, or not of these images.
    """
    from ncbench.contracts.task import Groups

    path = folder / GROUPS_FILE
    again = make_again(folder.name)
    try:
        found = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise DataError(f"This run trains on the groups in {path}, which is not there. {again}") from error
    if found != digest:
        raise DataError(f"The groups in {path} are others than its record says. {again}")
    arrays = read_npz(path, lambda present: {name: name for name in ("train", "val", "count") if name in present})
    try:
        val = arrays["val"].long() if "val" in arrays else None
        groups = Groups(arrays["train"].long(), int(arrays["count"]), val)
        for split, group in (("train", groups.train), ("val", groups.val)):
            if group is not None and len(group) != sizes[split]:
                raise ValueError(f"{len(group)} groups for {sizes[split]} {split} images")
    except (KeyError, ValueError, PluginError) as error:
        raise DataError(f"The groups in {path} cannot be used ({error}). {again}") from error
    return groups
