"""Tables of anyone's: CSV, TSV, Parquet and JSON lines, and columns of labels and of vectors in them.

Nothing is ever unpickled.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ncbench.contracts.errors import ConfigurationError, DataError, counted, name_offenders

if TYPE_CHECKING:
    import pyarrow as pa

_DELIMITERS = {".csv": ",", ".tsv": "\t", ".parquet": "", ".jsonl": ""}


def read_table(path: Path) -> pa.Table:
    """Read a .csv or .tsv file with a line of names, a .parquet file, or a .jsonl file with an object a line.

    Raises:
        DataError: The file is missing or damaged, has no rows, or names a column twice.
        ConfigurationError: It is of another kind.
    """
    kind = path.suffix.lower()
    if kind not in _DELIMITERS:
        raise ConfigurationError(f"{path} is none of {', '.join(_DELIMITERS)}. Save the table as one of them.")
    if not path.is_file():
        raise DataError(f"{path} does not exist or is not a file. Check the path.")
    try:
        table = _read(path, _DELIMITERS[kind])
    except Exception as error:  # a decoder may raise almost anything
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{path} cannot be read: it is damaged or of another kind ({reason:.300}).") from error
    if twice := sorted({name for name in table.column_names if table.column_names.count(name) > 1}):
        raise DataError(f"{path} has the column {twice[0]!r} twice.")
    if table.num_rows == 0:
        raise DataError(f"{path} has no rows.")
    return table


def _read(path: Path, delimiter: str) -> pa.Table:
    if delimiter:
        from pyarrow import csv

        return csv.read_csv(path, parse_options=csv.ParseOptions(delimiter=delimiter))
    if path.suffix.lower() == ".parquet":
        from pyarrow import parquet

        return parquet.read_table(path)
    from pyarrow import json

    return json.read_json(path)


def labels_of(path: Path, table: pa.Table, column: str) -> list[int] | list[str]:
    """Return a column of labels, every row with one: whole numbers, or names.

    Args:
        path: The table's file, for messages.
        table: It.
        column: Which.

    Raises:
        DataError: There is no such column, it holds something else, or rows have none; all are named.
    """
    import pyarrow as pa

    if column not in table.column_names:
        there = name_offenders([repr(name) for name in table.column_names], limit=12)
        raise DataError(f"{path} has no column {column!r}; it has {there}.")
    cells = table.column(column)
    kind = cells.type.value_type if pa.types.is_dictionary(cells.type) else cells.type
    values: list[Any] = cells.to_pylist()
    if rows := [str(row) for row, value in enumerate(values) if value is None or value == ""]:
        raise DataError(
            f"{path}: column {column!r} has no value in {counted(len(rows), 'row')}: {name_offenders(rows)} (the first "
            "row below the heading is 0). Give these a value, or leave them or the column out."
        )
    if pa.types.is_boolean(kind) or (pa.types.is_floating(kind) and all(value.is_integer() for value in values)):
        return [int(value) for value in values]
    if not (pa.types.is_integer(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        raise DataError(
            f"{path}: column {column!r} is {kind}, neither whole numbers nor names: name another, or write it so."
        )
    return values


def vectors_of(path: Path, table: pa.Table, column: str) -> np.ndarray:
    """Return a column whose cells are lists of as many numbers each: (N, D), of the type that the table has.

    Args:
        path: The table's file, for messages.
        table: It.
        column: Which.

    Raises:
        DataError: It holds something else, lists of different lengths, or rows or numbers are missing; the first is
            named.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    cells = table.column(column)
    kind = cells.type.storage_type if isinstance(cells.type, pa.BaseExtensionType) else cells.type
    if not (pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)):
        raise DataError(f"{path}: column {column!r} is {cells.type}, not a list of numbers an image.")
    refuse_holes(path, column, "no value", cells)
    cells = cells.cast(kind)
    lengths = pc.list_value_length(cells).to_numpy()
    if not lengths.any():
        raise DataError(f"{path}: column {column!r} holds no features.")
    width = lengths[0]
    if len(uneven := np.flatnonzero(lengths != width)):
        row = uneven[0]
        raise DataError(f"{path}: column {column!r} has {lengths[row]} numbers in row {row}, but {width} in row 0.")
    numbers = pc.list_flatten(cells)
    refuse_holes(path, column, "a missing number", numbers, width)
    vectors: np.ndarray = numbers.to_numpy().reshape(-1, width)
    return vectors


def refuse_holes(path: Path, name: str, what: str, column: pa.ChunkedArray, width: int = 1) -> None:
    """Refuse nulls in a column, of so many entries a row.

    Raises:
        DataError: There are some; the row of the first is named.
    """
    if column.null_count:
        entry = np.flatnonzero(column.is_null())[0]
        raise DataError(f"{path}: column {name!r} has {what} in row {entry // width}.")


def names_of(path: Path, labels: Iterable[int | str]) -> list[str]:
    """Return the names of the distinct labels: numbers in their order, or names in alphabetical order.

    Raises:
        DataError: Some are numbers and others names.
    """
    found = set(labels)
    if len({isinstance(value, str) for value in found}) > 1:
        some = name_offenders(sorted(map(str, found)))
        raise DataError(f"{path}: some labels are numbers and others names ({some}).")
    return [str(value) for value in sorted(found)]


def codes_of(path: Path, labels: Sequence[int | str], names: Sequence[str]) -> np.ndarray:
    """Return the position of each label among names: (N,) int64.

    Raises:
        DataError: Labels are none of them; they are named.
    """
    place = {name: index for index, name in enumerate(names)}
    texts = [str(value) for value in labels]
    if outside := sorted({text for text in texts if text not in place}):
        raise DataError(f"{path}: {name_offenders(outside)} is none of {name_offenders(names)}.")
    return np.asarray([place[text] for text in texts], np.int64)
