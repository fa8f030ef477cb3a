"""Photographs in the parquet files of the hub: their labels are read at once, an image when it is decoded.

Decoded they would fill the memory many times over, so a split holds places in the files instead.
"""

from __future__ import annotations

import bisect
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ncbench import DataError, name_offenders
from ncbench_datasets.layouts.hub_parquet import damaged

_GROUPS_KEPT = 2  # row groups in memory: images are asked for in order, by several threads that are not far apart


class ImageColumn:
    """The image column of a parquet file, {bytes, path} or bytes.

    Args:
        path: The file.
        name: The column's name.

    Raises:
        DataError: The file is damaged, or has no such column.
    """

    def __init__(self, path: Path, name: str) -> None:
        import pyarrow as pa  # here, since importing it takes a third of a second
        import pyarrow.parquet as pq

        self.path = path
        self.name = name
        try:
            with pq.ParquetFile(path) as file:
                schema, metadata = file.schema_arrow, file.metadata
                sizes = [metadata.row_group(index).num_rows for index in range(metadata.num_row_groups)]
        except (pa.ArrowException, OSError) as error:
            raise damaged(path, error) from error
        if name not in schema.names:
            raise DataError(f"{path} has no column {name!r}, but {', '.join(schema.names)}.")
        kind = schema.field(name).type
        self.packed = pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0
        if not self.packed and not pa.types.is_binary(kind):
            raise DataError(f"{path}: the column {name!r} holds {kind}, neither {{bytes, path}} nor bytes.")
        self._starts = [0, *np.cumsum(sizes, dtype=int).tolist()]
        self._groups: dict[int, list[bytes | None]] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return int(self._starts[-1])

    def content(self, row: int) -> bytes:
        """Return the encoded image of a row, or nothing where there is none.

        Raises:
            DataError: The file is damaged.
        """
        group = bisect.bisect_right(self._starts, row) - 1
        with self._lock:
            if group not in self._groups:
                while len(self._groups) >= _GROUPS_KEPT:
                    del self._groups[min(self._groups)]
                self._groups[group] = self._read(group)
            return self._groups[group][row - self._starts[group]] or b""

    def _read(self, group: int) -> list[bytes | None]:
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            with pq.ParquetFile(self.path) as file:
                values = file.read_row_group(group, columns=[self.name]).column(self.name).combine_chunks()
        except (pa.ArrowException, OSError) as error:
            raise damaged(self.path, error) from error
        contents: list[bytes | None] = (values.field("bytes") if self.packed else values).to_pylist()
        return contents


@dataclass(frozen=True, eq=False)
class PackedImage:
    """One image of a column."""

    column: ImageColumn
    row: int

    def __str__(self) -> str:
        return f"{self.column.path}, row {self.row}"

    def read_bytes(self) -> bytes:
        """Return the encoded image.

        Raises:
            DataError: The file is damaged.
        """
        return self.column.content(self.row)


def read_packed(
    paths: Sequence[Path], image: str, labels: Sequence[str]
) -> tuple[list[PackedImage], dict[str, np.ndarray]]:
    """Read the labels of a split's files, and where its images are.

    Args:
        paths: The files, in order.
        image: Name of the image column.
        labels: Names of the label columns: integers, booleans, or lists of as many integers in every row.

    Returns:
        N images, and by label (N,) or, of lists, (N, L) int64.

    Raises:
        DataError: A file is damaged, a column is missing or of another type, or a label is empty; all are named.
    """
    images: list[PackedImage] = []
    values: dict[str, list[np.ndarray]] = {name: [] for name in labels}
    for path in paths:
        column = ImageColumn(path, image)
        images += [PackedImage(column, row) for row in range(len(column))]
        for name, part in _read_labels(path, labels).items():
            values[name].append(part)
    return images, {name: np.concatenate(parts) for name, parts in values.items()}


def _read_labels(path: Path, labels: Sequence[str]) -> dict[str, np.ndarray]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        schema = pq.read_schema(path)
        if missing := [name for name in labels if name not in schema.names]:
            raise DataError(
                f"{path} has no column {name_offenders([repr(name) for name in missing])}, "
                f"but {name_offenders(schema.names)}."
            )
        table = pq.read_table(path, columns=list(labels))
    except (pa.ArrowException, OSError) as error:
        raise damaged(path, error) from error
    problems = []
    values = {}
    for name in labels:
        column = table.column(name).combine_chunks()
        if column.null_count:
            empty = np.flatnonzero(column.is_null().to_numpy(zero_copy_only=False)).tolist()
            problems.append(f"{len(empty)} rows without {name}: {name_offenders([f'row {row}' for row in empty])}")
        elif pa.types.is_integer(column.type) or pa.types.is_boolean(column.type):
            values[name] = column.to_numpy(zero_copy_only=False).astype(np.int64)
        elif pa.types.is_list(column.type) and pa.types.is_integer(column.type.value_type):
            lengths = np.unique(column.value_lengths().to_numpy(zero_copy_only=False))
            if len(lengths) > 1 or column.flatten().null_count:
                problems.append(f"the lists in the column {name!r} have several lengths, or empty places")
            else:
                values[name] = column.flatten().to_numpy(zero_copy_only=False).astype(np.int64).reshape(len(column), -1)
        else:
            problems.append(f"the column {name!r} holds {column.type}, not integers")
    if problems:
        raise DataError(f"{path}: {'; '.join(problems)}.")
    return values
