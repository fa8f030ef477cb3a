"""The IDX format of MNIST: a magic number, the sizes, and the values."""

from __future__ import annotations

import gzip
import struct
import zlib
from pathlib import Path

import numpy as np

from ncbench import DataError
from ncbench_datasets.layouts.folders import content

_UINT8 = 0x08


def find_idx(folder: Path, name: str) -> Path:
    """Return the file `name` in `folder`, plain or with ``.gz`` appended.

    Raises:
        DataError: Neither is there.
    """
    for path in (folder / name, folder / f"{name}.gz"):
        if path.is_file():
            return path
    raise DataError(f"{folder / name}[.gz] is missing.")


def read_idx(path: Path, dimensions: int) -> np.ndarray:
    """Read a file of bytes.

    Args:
        path: Plain or gzip-compressed, told by the suffix ``.gz``.
        dimensions: How many the array must have: 1 for labels, 3 for images.

    Returns:
        uint8 array of that many dimensions.

    Raises:
        DataError: The file is truncated, damaged or of another format; the message names it.
    """
    try:
        values = gzip.decompress(content(path)) if path.suffix == ".gz" else content(path)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path} is truncated or damaged ({error}).") from error
    start = 4 + 4 * dimensions
    if len(values) < start or values[:4] != bytes((0, 0, _UINT8, dimensions)):
        raise DataError(
            f"{path} is not an IDX file of bytes in {dimensions} dimensions: it begins with {values[:4]!r}."
        )
    shape = struct.unpack(f">{dimensions}I", values[4:start])
    expected = int(np.prod(shape, dtype=object))
    if len(values) - start != expected:
        raise DataError(
            f"{path} is truncated or damaged: its header says {' x '.join(map(str, shape))} values, "
            f"it holds {len(values) - start}."
        )
    return np.frombuffer(values, dtype=np.uint8, offset=start).reshape(shape)


def write_idx(path: Path, values: np.ndarray) -> None:
    """Write a uint8 array, gzip-compressed if the path ends in ``.gz``."""
    whole = struct.pack(f">4B{values.ndim}I", 0, 0, _UINT8, values.ndim, *values.shape) + values.tobytes()
    path.write_bytes(gzip.compress(whole, mtime=0) if path.suffix == ".gz" else whole)
