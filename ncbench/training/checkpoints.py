"""Checkpoints: written atomically, verified before use, and never unpickled as arbitrary objects.

A checkpoint is torch's format followed by the SHA-256 of all bytes before it. The last two are kept, so that a damaged
one leaves a way on.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypedDict

import torch
from torch import Tensor, nn

from ncbench.contracts.errors import DataError, described
from ncbench.data.files import write_atomically
from ncbench.records.folder import way_to_start_anew

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
        reads_val: Whether the method has read anything of the validation images.
        made_with: What must be the same to go on: the data's fingerprint, versions, the model of the base.
    """

    method: dict[str, Any]
    report: dict[str, float]
    optimizer: dict[str, Any]
    history: list[dict[str, Any]]
    best: dict[str, int]
    snapshot: dict[str, Tensor] | None
    reads_val: bool
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
    try:
        content = newest.read_bytes()
    except OSError as error:
        raise DataError(f"The checkpoint {newest} cannot be read ({error.strerror or error}).") from error
    payload, digest = content[:-_DIGEST_SIZE], content[-_DIGEST_SIZE:]
    next_step = (
        f"Delete it to go on from {paths[-2].name}." if len(paths) > 1 else "Delete it to start from the beginning."
    )
    if hashlib.sha256(payload).digest() != digest:
        raise DataError(f"The checkpoint {newest} is damaged (its checksum differs). {next_step}")
    try:
        state: Checkpoint = torch.load(io.BytesIO(payload), map_location=device, weights_only=True)
    except Exception as error:  # what torch raises depends on where the bytes go wrong
        raise DataError(f"The checkpoint {newest} is not one that ncbench wrote. {next_step}") from error
    return state


def refuse_other(restored: Checkpoint, now: Mapping[str, str], folder: Path) -> None:
    """Refuse to go on from a checkpoint that was made with other data or other code: that would mix two experiments.

    Args:
        restored: The checkpoint.
        now: What it must have been made with.
        folder: The run's folder of checkpoints.

    Raises:
        DataError: They differ, and the message says in what; or it was written when checkpoints held other things.
    """
    best: object = restored.get("best")
    epochs = best.values() if isinstance(best, dict) else (None,)
    if set(restored) != set(Checkpoint.__annotations__) or not all(type(epoch) is int for epoch in epochs):
        raise DataError(
            f"The checkpoints in {folder} were written by another version of ncbench. Put that version back, or "
            f"{way_to_start_anew(folder.parent)}"
        )
    made_with = restored["made_with"]
    differ = [name for name in sorted({*made_with, *now}) if made_with.get(name) != now.get(name)]
    if differ:
        said = "; ".join(f"{name} was {_shown(made_with, name)}, is {_shown(now, name)}" for name in differ)
        raise DataError(
            f"The checkpoints in {folder} were made with something else: {said}. Put that back, or "
            f"{way_to_start_anew(folder.parent)}"
        )


def _shown(versions: Mapping[str, str], name: str) -> str:
    text = versions.get(name, "not there")
    return text[:12] if len(text) == 2 * _DIGEST_SIZE else text


def restore(restored: Checkpoint, part: nn.Module | torch.optim.Optimizer, folder: Path) -> None:
    """Put a checkpoint's state into the method, or into its optimizer.

    Raises:
        DataError: It does not fit the code of today, although the versions are the same.
    """
    try:
        part.load_state_dict(restored["method" if isinstance(part, nn.Module) else "optimizer"])
        if isinstance(part, torch.optim.Optimizer):
            _check_shapes(part)
    except Exception as error:  # a method may restore itself
        raise DataError(
            f"The newest checkpoint in {folder} does not fit the method as it is now ({described(error):.300}). Put "
            f"the code back that wrote it, or {way_to_start_anew(folder.parent)}"
        ) from error


def _check_shapes(optimizer: torch.optim.Optimizer) -> None:
    """Check what optimizers do not: that what they keep of each parameter has its shape."""
    for parameter, kept in optimizer.state.items():
        for name, value in kept.items():
            if isinstance(value, Tensor) and value.dim() and value.shape != parameter.shape:
                raise ValueError(f"{name} has the shape {tuple(value.shape)}, not {tuple(parameter.shape)}")


def _by_epoch(folder: Path) -> list[Path]:
    ours = (path for path in folder.glob("epoch-*.pt") if path.stem.removeprefix("epoch-").isdecimal())
    return sorted(ours, key=_epoch)  # by number: epoch-100000 comes after epoch-99999


def _epoch(path: Path) -> int:
    return int(path.stem.removeprefix("epoch-"))
