"""What a run keeps of its training features for pictures: class vectors, and a sample of images of a few classes.

The file ``geometry.npz`` in the run folder holds plain numbers: ``counts``, ``drawn``, ``classes``, ``means`` and,
where there are any, ``weight`` and ``conflicting``, ``features`` and ``labels``. It takes 8 d bytes for each of at most
300 classes and 4 d for each of at most 1200 images, d the features' dimension: 15 MB for d = 2048.
"""

from __future__ import annotations

import io
from collections.abc import Collection
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ncbench.contracts.errors import DataError
from ncbench.data.files import write_atomically
from ncbench.features.arrays import read_npz
from ncbench.features.class_vectors import ClassVectors, evenly_spaced
from ncbench.records.folder import SNAPSHOT_FILE

if TYPE_CHECKING:
    import torch

    from ncbench.contracts.metric import Evaluation

SAMPLED_CLASSES = 4  # as many as a picture in three dimensions has room for
IMAGES_A_CLASS = 300
_NEEDED = ("counts", "drawn", "classes", "means", "features", "labels")
_OF_VECTORS = tuple(field.name for field in fields(ClassVectors))


def is_snapshot(names: Collection[str]) -> bool:
    """Return whether a file of arrays of these names is a snapshot."""
    return set(_NEEDED) <= set(names)


@dataclass(frozen=True, eq=False)
class Snapshot:
    """Training features as a run left them, on the CPU.

    Args:
        vectors: Of the classes, float32.
        features: (n, d) float32, images of up to `SAMPLED_CLASSES` classes, less the unweighted mean of all class
            means.
        labels: (n,) int64, their classes.
        conflicting: (n,) bool, whether an image's bias attribute is not the one that goes along with its class; None
            where that is unknown.
    """

    vectors: ClassVectors
    features: torch.Tensor
    labels: torch.Tensor
    conflicting: torch.Tensor | None = None

    def __post_init__(self) -> None:
        import torch

        vectors = self.vectors
        p, drawn, n = vectors.counts.numel(), vectors.drawn.numel(), self.labels.numel()
        d = vectors.means.shape[1] if vectors.means.ndim == 2 else 0
        shapes = {
            "counts": (vectors.counts, (p,), torch.int64),
            "drawn": (vectors.drawn, (drawn,), torch.int64),
            "classes": (vectors.classes, (drawn,), torch.int64),
            "means": (vectors.means, (drawn, d), torch.float32),
            "weight": (vectors.weight, (drawn, d), torch.float32),
            "labels": (self.labels, (n,), torch.int64),
            "features": (self.features, (n, d), torch.float32),
            "conflicting": (self.conflicting, (n,), torch.bool),
        }
        for name, (tensor, shape, dtype) in shapes.items():
            if tensor is None:
                continue
            if tuple(tensor.shape) != shape or tensor.dtype != dtype or not tensor.numel():
                raise ValueError(
                    f"{name} must be {dtype} of shape {shape} and not empty, got {tensor.dtype} {tuple(tensor.shape)}"
                )
            if dtype is torch.float32 and not bool(torch.isfinite(tensor).all()):
                raise ValueError(f"{name} has numbers that are not finite")
        if int(vectors.counts.min()) < 1:
            raise ValueError(f"counts has {int(vectors.counts.min())}, below 1")
        for name, tensor in (("drawn", vectors.drawn), ("classes", vectors.classes)):
            if int(tensor[0]) < 0 or not bool((tensor.diff() > 0).all()):
                raise ValueError(f"{name} must ascend from 0 or above")
        if int(vectors.drawn[-1]) >= p:
            raise ValueError(f"drawn has {int(vectors.drawn[-1])}, outside 0..{p - 1}")
        unknown = self.labels[~torch.isin(self.labels, vectors.classes)]
        if len(unknown):
            raise ValueError(f"labels has {int(unknown[0])}, which is not among classes")


def take_snapshot(evaluation: Evaluation) -> Snapshot | None:
    """Keep what pictures need of a pass over the training images.

    The images are of classes evenly spaced among all, so that frequent and rare ones are among them where counts fall
    with the class's number. Of each class up to `IMAGES_A_CLASS` are kept, evenly spaced in the dataset's order; where
    it is known which images conflict with the bias attribute, up to half of that number of either kind.

    Returns:
        The snapshot; None if features were not asked for, or a feature or weight is not finite.
    """
    import torch

    stream, target = evaluation.feature_stream, evaluation.target
    weight = None if evaluation.weight is None else evaluation.weight.detach().cpu().float()
    if stream is None or not stream.finite or not (weight is None or bool(torch.isfinite(weight).all())):
        return None
    counts = stream.by_target.counts.cpu()
    present = counts.nonzero().squeeze(1)  # (P,)
    means = stream.by_target.means.cpu()[present]  # (P, d) float64
    vectors = ClassVectors.of(present, counts[present], means, None if weight is None else weight[present])

    conflicting = None
    if evaluation.bias is not None and evaluation.aligned_bias is not None:
        aligned = torch.tensor(evaluation.aligned_bias, device=target.device)
        conflicting = evaluation.bias != aligned[target]
    sampled = vectors.classes[evenly_spaced(len(vectors.classes), SAMPLED_CLASSES)]
    index = _sample(target, conflicting, sampled.tolist())
    return Snapshot(
        vectors=replace(vectors, means=vectors.means.float()),
        features=(stream.rows(index).cpu().double() - means.mean(0)).float(),
        labels=target[index].cpu(),
        conflicting=None if conflicting is None else conflicting[index].cpu(),
    )


def _sample(target: torch.Tensor, conflicting: torch.Tensor | None, classes: list[int]) -> torch.Tensor:
    """Positions of the images that are kept, class by class."""
    import torch

    chosen = []
    for number in classes:
        own = target == number
        kinds = [own] if conflicting is None else [own & ~conflicting, own & conflicting]
        for where in (kind.nonzero().squeeze(1) for kind in kinds):
            chosen.append(where[evenly_spaced(len(where), IMAGES_A_CLASS // len(kinds)).to(where.device)])
    return torch.cat(chosen)


def write_snapshot(snapshot: Snapshot, folder: Path) -> None:
    """Write a snapshot atomically into a run folder."""
    import numpy as np
    import torch

    held = {**vars(snapshot.vectors), **vars(snapshot)}
    arrays: Any = {name: value.numpy() for name, value in held.items() if isinstance(value, torch.Tensor)}
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    write_atomically(folder / SNAPSHOT_FILE, buffer.getvalue())


def read_snapshot(folder: Path) -> Snapshot | None:
    """Read the snapshot of a run folder; None if there is none.

    Raises:
        DataError: The file is damaged, or its arrays do not belong together.
    """
    path = folder / SNAPSHOT_FILE
    if not path.is_file():
        return None

    def choose(present: list[str]) -> dict[str, str]:
        missing = [name for name in _NEEDED if name not in present]
        if missing:
            raise DataError(f"{path} has no array {', '.join(map(repr, missing))}. Run it anew with --force.")
        return {name: name for name in (*_NEEDED, "weight", "conflicting") if name in present}

    arrays = read_npz(path, choose)
    vectors = ClassVectors(**{name: arrays.pop(name) for name in _OF_VECTORS if name in arrays})
    try:
        return Snapshot(vectors, **arrays)
    except ValueError as error:
        raise DataError(f"{path}: {error}. Run it anew with --force.") from error
