"""Numeric arrays in MATLAB's files of version 5 ("MAT-File Format", The MathWorks).

scipy reads these files too, but a damaged one can crash the interpreter inside its compiled code (seen with scipy
1.17: a bus error after one flipped byte), where this must end with an error that names the file. Only full, real,
numeric arrays are known here; every other variable is skipped.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from ncbench import DataError

_HEADER = 128  # bytes; the last four are the version and the byte order
_VERSION = 0x0100
_MATRIX, _COMPRESSED = 14, 15
_DTYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_NUMERIC = range(6, 16)  # classes of arrays: double, single, and integers of 1 to 8 bytes
_COMPLEX = 0x0800


def read_arrays(path: Path, names: Iterable[str]) -> dict[str, np.ndarray]:
    """Read some of a file's variables.

    Args:
        path: The file.
        names: Of the variables.

    Returns:
        The arrays by name, of the shape and type they are stored in.

    Raises:
        DataError: The file cannot be read, is truncated, damaged or of another format, or does not hold a variable as
            a full, real, numeric array.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror or error}).") from error
    order = {b"IM": "<", b"MI": ">"}.get(content[_HEADER - 2 : _HEADER], "")
    if not order or struct.unpack_from(f"{order}H", content, _HEADER - 4) != (_VERSION,):
        raise DataError(f"{path} is no MATLAB file of version 5: it begins with {content[:20]!r}.")
    try:
        found = dict(_variables(memoryview(content)[_HEADER:], order))
    except (ValueError, struct.error, zlib.error) as error:
        raise DataError(f"{path} is truncated or damaged ({error}).") from error
    wanted = list(names)
    if missing := [name for name in wanted if name not in found]:
        raise DataError(
            f"{path} holds no numeric {'array' if len(missing) == 1 else 'arrays'} {' and '.join(missing)}, but "
            f"{', '.join(found) or 'none'}."
        )
    return {name: found[name] for name in wanted}


def _variables(content: memoryview, order: str) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the name and the values of each numeric array."""
    for kind, data in _elements(content, order):
        if kind == _COMPRESSED:
            kind, data = next(_elements(memoryview(zlib.decompress(data)), order), (0, data))
        if kind != _MATRIX:
            continue
        parts = list(_elements(data, order))
        flags = np.frombuffer(parts[0][1], f"{order}u4")[0] if parts else 0
        if flags & 0xFF not in _NUMERIC or flags & _COMPLEX:
            continue
        if len(parts) != 4 or parts[3][0] not in _DTYPES:
            raise ValueError("an array lacks its size, its name or its values")
        (_, shape), (_, name), (stored, values) = parts[1:]
        array = np.frombuffer(values, order + _DTYPES[stored])
        yield bytes(name).decode("latin-1"), array.reshape(np.frombuffer(shape, f"{order}i4"), order="F")


def _elements(content: memoryview, order: str) -> Iterator[tuple[int, memoryview]]:
    """Yield the type and the data of each element; data of up to four bytes lie inside the tag."""
    position = 0
    while position < len(content):
        kind, size = struct.unpack_from(f"{order}2I", content, position)
        start = position + 8
        if kind >> 16:
            kind, size, start = kind & 0xFFFF, kind >> 16, position + 4
            if size > 4:
                raise ValueError(f"a short element of {size} bytes")
        end = start + size
        if end > len(content):
            raise ValueError(f"an element of {size} bytes where {max(0, len(content) - start)} are left")
        yield kind, content[start:end]
        position = end if kind == _COMPRESSED else -(-end // 8) * 8
