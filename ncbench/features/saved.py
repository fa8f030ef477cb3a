"""Reading features that anyone's own model has saved: .npz, .safetensors or .parquet. Nothing is ever unpickled."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ncbench.contracts.errors import ConfigurationError, DataError
from ncbench.data.tables import refuse_holes, vectors_of
from ncbench.features.arrays import as_tensor, guarded, read_npz
from ncbench.features.snapshot import is_snapshot
from ncbench.records.archive import RESULT_FILE

if TYPE_CHECKING:
    import torch

Names = Mapping[str, str | None]
"""Role (features, labels, weight, bias) -> what the array is called; None if the user has not said."""


@dataclass(frozen=True, eq=False)
class SavedFeatures:
    """The arrays of one file, on the CPU, in the precision they were saved in.

    Args:
        features: (N, d) floating point.
        labels: (N,) int64, each at least 0.
        weight: (K, d) floating point, or None.
        bias: (K,) floating point, or None.
    """

    features: torch.Tensor
    labels: torch.Tensor
    weight: torch.Tensor | None = None
    bias: torch.Tensor | None = None

    def __post_init__(self) -> None:
        """Refuse what `ncbench.collapse.measure` would refuse less plainly, or could not tell from a slip."""
        features, labels, weight = self.features, self.labels, self.weight
        for name, tensor in (("features", features), ("weight", weight), ("bias", self.bias)):
            if tensor is not None and not tensor.is_floating_point():
                raise ValueError(f"{name} must be floating point, got {tensor.dtype}; save them as float32")
        if features.ndim != 2:
            raise ValueError(f"features must have shape (images, dimension), got {tuple(features.shape)}")
        if weight is not None and (weight.ndim != 2 or weight.shape[1] != features.shape[1]):
            hint = "; save its transpose" if weight.ndim == 2 and weight.shape[0] == features.shape[1] else ""
            raise ValueError(
                f"weight must have shape (classes, {features.shape[1]}), one row a class, "
                f"got {tuple(weight.shape)}{hint}"
            )
        if labels.is_floating_point() or labels.is_complex() or str(labels.dtype) == "torch.bool":
            raise ValueError(f"labels must be integers, got {labels.dtype}; save them as int64")
        if labels.numel() and int(labels.min()) < 0:
            entry = (labels < 0).nonzero()[0].tolist()
            raise ValueError(f"labels{entry} is {int(labels[tuple(entry)])}, below 0")


def read_features(
    path: Path, features: str = "features", labels: str = "labels", weight: str | None = None, bias: str | None = None
) -> SavedFeatures:
    """Read the features, the labels and, where there is one, the classifier from a file.

    Args:
        path: A .npz or .safetensors file of named arrays, or a .parquet table with a list column of features and an
            integer column of labels.
        features: Name of the array of features, (N, d) floating point.
        labels: Name of that of the classes, (N,) integers.
        weight: Name of the classifier's rows, (K, d); None takes an array called ``weight`` if there is one.
        bias: Name of its bias, (K,); None takes an array called ``bias`` if there is one beside a weight.

    Raises:
        DataError: The file or an array is missing or damaged, holds Python objects, or has the wrong type or shape.
        ConfigurationError: The kind of file is not known, or cannot hold what was asked for; or it is what a run keeps
            for pictures.
    """
    readers = {".npz": _read_npz, ".safetensors": _read_safetensors, ".parquet": _read_parquet}
    if not path.exists():
        raise DataError(f"{path} does not exist. Name the folder of a run, or a file of features.")
    if path.suffix.lower() not in readers:
        raise ConfigurationError(f"{path} is none of {', '.join(readers)}. Save the features as one of them.")
    if not path.is_file():
        raise DataError(f"{path} does not exist or is not a file. Check the path.")
    names = {"features": features, "labels": labels, "weight": weight, "bias": bias}
    arrays = readers[path.suffix.lower()](path, names)
    try:
        return SavedFeatures(**{role: _in_common_type(role, array) for role, array in arrays.items()})
    except ValueError as error:
        raise DataError(f"{path}: {error}.") from error


def _in_common_type(role: str, array: torch.Tensor) -> torch.Tensor:
    """The same numbers in a type that PyTorch computes with: labels as int64, floats of one byte as float32."""
    import torch

    if array.is_floating_point():
        return array.float() if array.element_size() == 1 else array
    if role != "labels" or array.is_complex() or array.dtype == torch.bool:
        return array
    signed = array.to(torch.int64)
    if array.dtype == torch.uint64 and bool((signed < 0).any()):
        entry = (signed < 0).nonzero()[0].tolist()
        raise ValueError(f"labels{entry} is {array[tuple(entry)].numpy()}, above 2**63 - 1")
    return signed


def _wanted(path: Path, present: Iterable[str], names: Names) -> dict[str, str]:
    """Return the arrays to read, role -> name, the classifier's among them if it is asked for or there."""
    there = sorted(present)
    wanted = {role: name or role for role, name in names.items() if name or role in there}
    if "weight" not in wanted:
        if names["bias"]:
            raise ConfigurationError("--bias needs the classifier's weight too. Name its array with --weight.")
        # Without a weight an array called `bias` is something else: the bias attribute of each image, say.
        wanted.pop("bias", None)
    for role, name in wanted.items():
        if name not in there:
            listed = ", ".join(map(repr, there)) or "none"
            raise DataError(f"{path} has no array {name!r}; it has {listed}. Name the array with --{role}.")
    return wanted


def _read_npz(path: Path, names: Names) -> dict[str, torch.Tensor]:
    def choose(present: list[str]) -> dict[str, str]:
        if is_snapshot(present):
            raise ConfigurationError(
                f"{path} is what a run keeps for pictures, with images of a few classes alone: measures of it would "
                f"mislead. Those of all training images are in {path.parent / RESULT_FILE}, and "
                f"ncbench plot --kind geometry {path.parent} draws them; ncbench collapse {path.parent} measures."
            )
        return _wanted(path, present, names)

    return read_npz(path, choose)


def _read_safetensors(path: Path, names: Names) -> dict[str, torch.Tensor]:
    try:
        import safetensors
    except ImportError as error:
        raise ConfigurationError(f"{path} needs the safetensors package: pip install safetensors") from error

    # As torch tensors: numpy has no bfloat16, which is what such files often hold.
    opened = guarded(path, lambda: safetensors.safe_open(path, framework="pt"))
    with opened as archive:
        return {
            role: guarded(path, partial(archive.get_tensor, name), name)
            for role, name in _wanted(path, archive.keys(), names).items()
        }


def _read_parquet(path: Path, names: Names) -> dict[str, torch.Tensor]:
    import pyarrow.parquet as pq

    if names["weight"] or names["bias"]:
        raise ConfigurationError(
            f"{path} has one row an image and no place for a classifier. Leave out --weight and --bias, or save an "
            ".npz."
        )
    with guarded(path, lambda: pq.ParquetFile(path)) as file:
        wanted = _wanted(path, file.schema_arrow.names, names)
        features, labels = wanted["features"], wanted["labels"]
        table = guarded(path, lambda: file.read(columns=[features, labels]))
    rows, classes = vectors_of(path, table, features), table.column(labels)
    refuse_holes(path, labels, "no value", classes)
    return {"features": as_tensor(path, features, rows), "labels": as_tensor(path, labels, classes.to_numpy())}
