"""Feature vectors of the user's own, such as another model's of a dataset."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from ncbench import DataError, name_offenders, read_table, vectors_of
from ncbench_datasets.layouts.own import Labelled, OwnData, OwnParameters

DEFAULT_FILE = "features.npz"


class FeaturesParameters(OwnParameters):
    """Parameters of a file of feature vectors."""

    inputs: str = Field("inputs", description="array, or column of lists, of the vectors (N, D)")
    target: str = Field("target", description="array or column of the classes (N,), numbers or names")
    bias: str = Field("", description="of the bias attribute (N,), several as place+gender; empty if it is unknown")
    split: str = Field("split", description="of train, val and test, or 0, 1 and 2, if there is one")


class Features(OwnData):
    """Vectors in one file: ``features:path=clip.npz,bias=place``, an .npz, .safetensors or .parquet file.

    Without a path, ``features/features.npz`` below a data root is read.
    """

    Parameters = FeaturesParameters
    folder = "features"

    def source_files(self) -> Sequence[Path]:
        """Return the file.

        Raises:
            DataError: It is missing.
        """
        if not self._file.is_file():
            raise DataError(f"{self._file} is missing.")
        return [self._file]

    @cached_property
    def labelled(self) -> Labelled:
        """What the arrays hold.

        Raises:
            DataError: The file or an array is missing or damaged, or arrays are of different lengths.
        """
        path, params = self._file, self.params
        attributes = [name for name in params.bias.split("+") if name]
        arrays = _arrays(path, [params.inputs, params.target, *attributes], params.split)
        inputs = arrays[params.inputs]
        if inputs.ndim != 2 or inputs.dtype.kind not in "fiu":
            raise DataError(f"{path}: {params.inputs!r} must be numbers (N, D), not {inputs.dtype} {inputs.shape}.")
        with np.errstate(over="ignore"):
            inputs = np.ascontiguousarray(inputs, dtype=np.float32)
        if len(bad := np.flatnonzero(~np.isfinite(inputs).all(axis=1))):
            rows = name_offenders([str(row) for row in bad[:2000]])
            raise DataError(
                f"{path}: {len(bad)} vectors have numbers that are not finite: rows {rows}. Mend them, or "
                "leave them out."
            )
        labels = {name: array for name, array in arrays.items() if name != params.inputs}
        if uneven := [f"{name} has {array.shape}" for name, array in labels.items() if array.shape != (len(inputs),)]:
            raise DataError(f"{path}: {params.inputs} has {len(inputs)} vectors, and {name_offenders(uneven)} labels.")
        if odd := [f"{name} is {array.dtype}" for name, array in labels.items() if array.dtype.kind not in "iubU"]:
            raise DataError(f"{path}: labels must be whole numbers or names: {name_offenders(odd)}.")
        return Labelled(
            inputs=inputs,
            ids=[str(row) for row in range(len(inputs))],
            target=labels[params.target].tolist(),
            attributes={name: labels[name].tolist() for name in attributes},
            split=labels[params.split].tolist() if params.split in labels else None,
        )

    @property
    def _file(self) -> Path:
        return self.source / (Path(self.params.path).name or DEFAULT_FILE)

    @classmethod
    def synthesize(cls, root: Path) -> None:
        """Write vectors of which one number tells the class, and a larger one the attribute."""
        generator = np.random.default_rng(0)
        target = np.arange(120) % 2
        place = np.where(np.arange(120) % 10 == 0, 1 - target, target)
        inputs = generator.normal(size=(120, 8)).astype(np.float32)
        inputs[:, 0] += 3 * target
        inputs[:, 1] += 6 * place
        (root / cls.folder).mkdir(parents=True)
        split = np.repeat(["train", "val", "test"], [60, 20, 40])
        np.savez(root / cls.folder / DEFAULT_FILE, inputs=inputs, target=target, place=place, split=split)


def _arrays(path: Path, needed: Sequence[str], split: str) -> dict[str, np.ndarray]:
    """Read the arrays that are needed, and that of the splits where it is there. Nothing is unpickled."""
    if path.suffix.lower() not in _READERS:
        raise DataError(f"{path} is none of {', '.join(_READERS)}. Save the vectors as one of them.")
    try:
        read, there = _READERS[path.suffix.lower()](path)
        if not (missing := [name for name in needed if name not in there]):
            return {name: read(name) for name in (*needed, split) if name in there}
    except DataError:
        raise
    except Exception as error:  # a damaged file makes a decoder raise almost anything
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(
            f"{path} cannot be read: it is damaged, or holds Python objects ({reason:.300}). Save "
            "vectors as numbers, and labels as whole numbers or, in NumPy, as text: labels.astype(str)."
        ) from error
    raise DataError(f"{path} has no {name_offenders(missing)}; it has {name_offenders(sorted(there))}.")


def _npz(path: Path) -> tuple[Callable[[str], Any], Sequence[str]]:
    archive = np.load(path, allow_pickle=False)
    return archive.__getitem__, archive.files


def _safetensors(path: Path) -> tuple[Callable[[str], Any], Sequence[str]]:
    try:
        from safetensors.numpy import load_file
    except ImportError as error:
        raise DataError(f"{path} needs the package safetensors: pip install safetensors") from error
    arrays = load_file(path)
    return arrays.__getitem__, [*arrays]


def _parquet(path: Path) -> tuple[Callable[[str], Any], Sequence[str]]:
    import pyarrow as pa

    table = read_table(path)

    def read(name: str) -> np.ndarray:
        if pa.types.is_nested(table.schema.field(name).type):
            return vectors_of(path, table, name)
        return np.array(table.column(name).to_pylist())

    return read, table.column_names


_READERS = {".npz": _npz, ".safetensors": _safetensors, ".parquet": _parquet}
