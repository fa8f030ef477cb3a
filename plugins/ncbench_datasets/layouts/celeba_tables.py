"""CelebA's two tables, the attributes and the partition, as text of the release or as CSV files of its copies."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ncbench import DataError, name_offenders
from ncbench_datasets.layouts.folders import text

ATTRIBUTES = (
    "5_o_Clock_Shadow",
    "Arched_Eyebrows",
    "Attractive",
    "Bags_Under_Eyes",
    "Bald",
    "Bangs",
    "Big_Lips",
    "Big_Nose",
    "Black_Hair",
    "Blond_Hair",
    "Blurry",
    "Brown_Hair",
    "Bushy_Eyebrows",
    "Chubby",
    "Double_Chin",
    "Eyeglasses",
    "Goatee",
    "Gray_Hair",
    "Heavy_Makeup",
    "High_Cheekbones",
    "Male",
    "Mouth_Slightly_Open",
    "Mustache",
    "Narrow_Eyes",
    "No_Beard",
    "Oval_Face",
    "Pale_Skin",
    "Pointy_Nose",
    "Receding_Hairline",
    "Rosy_Cheeks",
    "Sideburns",
    "Smiling",
    "Straight_Hair",
    "Wavy_Hair",
    "Wearing_Earrings",
    "Wearing_Hat",
    "Wearing_Lipstick",
    "Wearing_Necklace",
    "Wearing_Necktie",
    "Young",
)
ATTRIBUTE_FILE = "list_attr_celeba"
PARTITION_FILE = "list_eval_partition"
_NAME = re.compile(r"\w[\w-]*\.(?:jpg|png)")  # in particular no path


def find_table(folder: Path, stem: str) -> Path:
    """Return ``<stem>.txt``, or else ``<stem>.csv``.

    Raises:
        DataError: There is neither.
    """
    for suffix in (".txt", ".csv"):
        if (folder / f"{stem}{suffix}").is_file():
            return folder / f"{stem}{suffix}"
    raise DataError(f"{folder / stem}.txt is missing, and there is no {stem}.csv either.")


def read_attributes(path: Path) -> tuple[np.ndarray, Mapping[str, np.ndarray]]:
    """Read the attributes: a line with the number of images, one with the names and the rows; or a CSV file.

    Returns:
        (N,) names of the images in order, and by attribute (N,) int64, 1 where an image has it and 0 where not.

    Raises:
        DataError: The table cannot be read, is cut off, lacks an attribute, or has rows of another length, values other
            than -1 and 1, strange names of images, or a name twice; the offenders are named.
    """
    table = text(path).encode()
    lines = None
    if path.suffix == ".txt":
        first, _, table = table.partition(b"\n")
        if not first.strip().isdigit():
            raise DataError(f"{path} does not begin with the number of its images.")
        lines = int(first)
        table = _with_commas(b"image_id " + table)
    names, order, columns = _read(path, table, ATTRIBUTES)
    if lines not in (None, len(names)):
        raise DataError(f"{path} is cut off or damaged: it says that it lists {lines} images, and lists {len(names)}.")
    values = {}
    bad, examples = 0, []
    for attribute in ATTRIBUTES:
        column = columns[attribute]
        has = _equal(column, "1")
        wrong = np.flatnonzero(~has & ~_equal(column, "-1"))
        bad += len(wrong)
        examples += [f"{attribute} {column[row].as_py()!r} in row {row + 1}" for row in wrong[:20].tolist()]
        values[attribute] = has[order].astype(np.int64)
    if bad:
        raise DataError(f"{path} holds {bad} values other than -1 and 1, such as {'; '.join(examples[:20])}.")
    return names, values


def read_partition(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read the partition: a name and a number on each line, or a CSV file with a header.

    Returns:
        (N,) names of the images in order, and (N,) int64: 0 for train, 1 for val, 2 for test.

    Raises:
        DataError: The table cannot be read, or has rows of another length, other numbers, strange names of images, or a
            name twice; the offenders are named.
    """
    table = text(path).encode()
    if path.suffix == ".txt":
        table = b"image_id,partition\n" + _with_commas(table)
    names, order, columns = _read(path, table, ("partition",))
    parts = np.full(len(names), -1, dtype=np.int64)
    for code in range(3):
        parts[_equal(columns["partition"], str(code))] = code
    if wrong := np.flatnonzero(parts < 0).tolist():
        examples = [f"{columns['partition'][row].as_py()!r} in row {row + 1}" for row in wrong]
        raise DataError(f"{path} knows other parts than 0, 1 and 2: {name_offenders(examples)}.")
    return names, parts[order]


def same_images(first: np.ndarray, second: np.ndarray, paths: Sequence[Path]) -> None:
    """Refuse two tables that list other images.

    Args:
        first: (N,) names of the first table.
        second: (M,) names of the second.
        paths: Both tables, for the error.

    Raises:
        DataError: A name is in one table only; all are named.
    """
    alone = np.setxor1d(first, second)
    if len(alone):
        offenders = name_offenders(alone.tolist())
        raise DataError(f"{len(alone)} images are in one of {paths[0]} and {paths[1]} only: {offenders}.")


def _with_commas(lines: bytes) -> bytes:
    return b"\n".join(b",".join(line.split()) for line in lines.splitlines())


def _read(path: Path, content: bytes, wanted: Sequence[str]) -> tuple[np.ndarray, np.ndarray, Mapping[str, Any]]:
    """Return the names in order, the rows that have them, and the wanted columns as text in the order of the rows."""
    import pyarrow as pa  # here, since importing it takes a third of a second
    from pyarrow import csv

    odd: list[str] = []

    def note(row: Any) -> str:
        odd.append(f"{row.actual_columns} values in line {row.text[:40]!r}")
        return "skip"

    try:
        table = csv.read_csv(
            io.BytesIO(content),
            read_options=csv.ReadOptions(use_threads=False),
            parse_options=csv.ParseOptions(quote_char=False, invalid_row_handler=note),
            convert_options=csv.ConvertOptions(
                column_types=dict.fromkeys(("image_id", *wanted), pa.string()),
                include_columns=["image_id", *wanted],
                strings_can_be_null=False,
            ),
        )
    except (pa.ArrowException, UnicodeDecodeError) as error:
        raise DataError(f"{path} is no table of CelebA's ({' '.join(str(error).split())}).") from error
    if odd:
        raise DataError(f"{path} has {len(odd)} rows of another length: {name_offenders(odd)}.")
    names = np.asarray(table.column("image_id").to_pylist(), dtype=np.str_)
    order = np.argsort(names, kind="stable")
    names = names[order]
    strange = [name for name in names.tolist() if not _NAME.fullmatch(name)]
    twice = np.unique(names[:-1][names[:-1] == names[1:]]).tolist()
    if strange or twice:
        raise DataError(f"{path} has strange names of images, or names twice: {name_offenders(strange + twice)}.")
    return names, order, {name: table.column(name).combine_chunks() for name in wanted}


def _equal(column: Any, value: str) -> np.ndarray:
    """Return where a column of text is `value`: (N,) bool."""
    import pyarrow.compute as pc

    same: np.ndarray = pc.equal(column, value).to_numpy(zero_copy_only=False)
    return same
