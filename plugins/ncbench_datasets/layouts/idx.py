"""The IDX format of MNIST: a magic number, the sizes, and the values."""

from __future__ import annotations

import gzip
import struct
import zlib
from pathlib import Path

import numpy as np

from ncbench import DataError

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
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path} is truncated or damaged ({error}).") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror or error}).") from error
    start = 4 + 4 * dimensions
    if len(content) < start or content[:4] != bytes((0, 0, _UINT8, dimensions)):
        raise DataError(
            f"{path} is not an IDX file of bytes in {dimensions} dimensions: it begins with {content[:4]!r}."
        )
    shape = struct.unpack(f">{dimensions}I", content[4:start])
    expected = int(np.prod(shape, dtype=object))
    if len(content) - start != expected:
        raise DataError(
            f"{path} is truncated or damaged: its header says {' x '.join(map(str, shape))} values, "
            f"it holds {len(content) - start}."
        )
    return np.frombuffer(content, dtype=np.uint8, offset=start).reshape(shape)


def write_idx(path: Path, values: np.ndarray) -> None:
    """Write a uint8 array, gzip-compressed if the path ends in ``.gz``."""
    content = struct.pack(f">4B{values.ndim}I", 0, 0, _UINT8, values.ndim, *values.shape) + values.tobytes()
    path.write_bytes(gzip.compress(content, mtime=0) if path.suffix == ".gz" else content)
