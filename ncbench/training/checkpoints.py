"""Checkpoints: written atomically, verified before use, and never unpickled as arbitrary objects.

A checkpoint is torch's format followed by the SHA-256 of all bytes before it. The last two are kept, so that a damaged
one leaves a way on.
"""

from __future__ import annotations

import hashlib
import io
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypedDict

import torch
from torch import Tensor

from ncbench.contracts.errors import DataError
from ncbench.data.files import write_atomically

KEPT = 2


class Checkpoint(TypedDict):
    """What a run needs to go on from the end of an epoch, as if it had not been cut off.

    No generator is among it: every epoch starts them anew from the seed (see :mod:`ncbench.training.seeding`).

    Args:
        method: Its ``state_dict``, in which whatever it learns or keeps must be.
        report: What it has to report so far.
        optimizer: Its ``state_dict``.
        history: One entry an epoch.
        best: Criterion -> the epoch it would choose so far.
        snapshot: The ``state_dict`` of the primary criterion's best model; None while that is the current one.
        made_with: What must be the same to go on: the data's fingerprint, versions, the model of the base.
    """

    method: dict[str, Any]
    report: dict[str, float]
    optimizer: dict[str, Any]
    history: list[dict[str, Any]]
    best: dict[str, int]
    snapshot: dict[str, Tensor] | None
    made_with: dict[str, str]


_DIGEST_SIZE = hashlib.sha256().digest_size


def save_checkpoint(folder: Path, epoch: int, state: Checkpoint) -> Path:
    """Write the state after `epoch` and remove all but the last two checkpoints.

    Args:
        folder: The run's folder of checkpoints; created if needed.
        epoch: Epochs done, over all stages.
        state: What is kept.
    """
    folder.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    torch.save(state, buffer)
    payload = buffer.getvalue()
    path = folder / f"epoch-{epoch:05d}.pt"
    write_atomically(path, payload + hashlib.sha256(payload).digest())
    for old in _by_epoch(folder)[:-KEPT]:
        old.unlink()
    return path


def newest_epoch(folder: Path) -> int | None:
    """Return the epoch after which the newest checkpoint was written; None if there is none."""
    paths = _by_epoch(folder)
    return _epoch(paths[-1]) if paths else None


def load_latest_checkpoint(folder: Path, device: torch.device) -> Checkpoint | None:
    """Return the newest checkpoint's state, or None if there is none.

    Raises:
        DataError: The newest checkpoint is damaged; the message names it and the one before it.
    """
    paths = _by_epoch(folder)
    if not paths:
        return None
    newest = paths[-1]
    content = newest.read_bytes()
    payload, digest = content[:-_DIGEST_SIZE], content[-_DIGEST_SIZE:]
    next_step = (
        f"Delete it to go on from {paths[-2].name}." if len(paths) > 1 else "Delete it to start from the beginning."
    )
    if hashlib.sha256(payload).digest() != digest:
        raise DataError(f"The checkpoint {newest} is damaged (its checksum differs). {next_step}")
    try:
        state: Checkpoint = torch.load(io.BytesIO(payload), map_location=device, weights_only=True)
    except (pickle.UnpicklingError, RuntimeError) as error:
        raise DataError(f"The checkpoint {newest} is not one that ncbench wrote. {next_step}") from error
    return state


def refuse_other(made_with: Mapping[str, str], now: Mapping[str, str], folder: Path) -> None:
    """Refuse to go on from a checkpoint that was made with other data or other code: that would mix two experiments.

    Args:
        made_with: What it was made with, by name.
        now: What there is now.
        folder: The run's folder of checkpoints.

    Raises:
        DataError: They differ; the message says in what.
    """
    differ = [name for name in sorted({*made_with, *now}) if made_with.get(name) != now.get(name)]
    if differ:
        absent = "not there"
        said = "; ".join(f"{name} was {made_with.get(name, absent)}, is {now.get(name, absent)}" for name in differ)
        raise DataError(
            f"The checkpoints in {folder} were made with something else: {said}. Put that back, or give --force to "
            "start the run anew."
        )


def _by_epoch(folder: Path) -> list[Path]:
    return sorted(folder.glob("epoch-*.pt"), key=_epoch)  # by number: epoch-100000 comes after epoch-99999


def _epoch(path: Path) -> int:
    return int(path.stem.removeprefix("epoch-"))
