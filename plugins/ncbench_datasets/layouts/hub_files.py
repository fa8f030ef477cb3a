"""The parquet files of the Hugging Face hub, with a column of images and columns of labels, read by its `datasets`.

Labels are read at once, an image when its bytes are asked for: they lie in a memory-mapped copy of the file that the
library makes in ncbench's cache folder. Nothing is asked of the network.
"""

from __future__ import annotations

import hashlib
import io
import logging
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ncbench import DataError, cache_folder, name_offenders

_LOSSLESS = ("PNG", "WEBP")  # as the files in circulation use them
_SHARD = re.compile(r".+-(\d{5})-of-(\d{5})\.parquet")


def find_shards(folders: Iterable[Path], splits: Sequence[str]) -> Mapping[str, Sequence[Path]]:
    """Return each split's files ``<split>-*.parquet``, sorted, from the first folder that holds any.

    Args:
        folders: Where to look, in order.
        splits: Names of the splits.

    Returns:
        Files by split; empty if no folder holds any.

    Raises:
        DataError: A file of a split is missing, or a split has files of several versions.
    """
    for folder in folders:
        shards = {split: sorted(folder.glob(f"{split}-*.parquet")) for split in splits}
        if any(shards.values()):
            _check_shards(folder, shards)
            return shards
    return {}


@dataclass(frozen=True, eq=False)
class HubImage:
    """One image of a file, read when it is asked for.

    Args:
        path: The file.
        column: Its images, undecoded, as a `datasets.Dataset` of one column.
        row: The image's.
    """

    path: Path
    column: Any
    row: int

    def __str__(self) -> str:
        return f"{self.path}, row {self.row}"

    def read_bytes(self) -> bytes:
        """Return the encoded image, or nothing where there is none."""
        return _bytes(self.column[self.row])


def read_images(
    paths: Sequence[Path], image: str, labels: Sequence[str]
) -> tuple[list[HubImage], dict[str, np.ndarray]]:
    """Read the labels of a split's files, and where its images are.

    Args:
        paths: The files, in order.
        image: Name of the image column: {bytes, path} or bytes.
        labels: Names of the label columns: integers, booleans, or lists of as many integers in every row.

    Returns:
        N images, and by label (N,) or, of lists, (N, L) int64.

    Raises:
        DataError: A file is damaged, a column is missing or of another type, or a label is empty; all are named.
    """
    images: list[HubImage] = []
    values: dict[str, list[np.ndarray]] = {name: [] for name in labels}
    for path in paths:
        column, part = _read(path, image, labels)
        images += [HubImage(path, column, row) for row in range(len(column))]
        for name in labels:
            values[name].append(part[name])
    return images, {name: np.concatenate(parts) for name, parts in values.items()}


def read_pictures(
    path: Path, image: str, labels: Sequence[str], class_names: Sequence[str], size: tuple[int, int]
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Read a file of small images of one size, decoded.

    Args:
        path: The file.
        image: Name of the image column.
        labels: Names of the label columns; the last is the target.
        class_names: The target's names. A file that carries names of its own must agree.
        size: (H, W) every image must have.

    Returns:
        Images (N, H, W, 3) uint8, and (N,) int64 by label.

    Raises:
        DataError: As :func:`read_images`, or the file names other classes, or images cannot be decoded to H x W in RGB;
            all are named.
    """
    column, values = _read(path, image, labels, class_names)
    pixels = np.zeros((len(column), *size, 3), dtype=np.uint8)
    reasons = [_decode(_bytes(row), pixels[number]) for number, row in enumerate(column)]
    if bad := [f"row {row} ({reason})" for row, reason in enumerate(reasons) if reason]:
        raise DataError(f"{path} holds {len(bad)} images that cannot be decoded: {name_offenders(bad)}.")
    return pixels, values


def write_pictures(path: Path, image: str, images: np.ndarray, labels: Mapping[str, np.ndarray]) -> None:
    """Write a file, its images as PNG.

    Args:
        path: The file.
        image: Name of the image column.
        images: (N, H, W, 3) uint8.
        labels: (N,) int64 by column name.
    """
    from datasets import Dataset, Features, Image, Value, disable_progress_bars

    disable_progress_bars()
    features = Features({image: Image(), **{name: Value("int64") for name in labels}})
    Dataset.from_dict({image: list(images), **labels}, features=features).to_parquet(path)


def _check_shards(folder: Path, shards: Mapping[str, Sequence[Path]]) -> None:
    """Refuse a split that lacks a file: ``train-00001-of-00003`` says how many there must be."""
    missing = []
    for split, paths in shards.items():
        if not paths:
            missing.append(str(folder / f"{split}-*.parquet"))
        totals = {match[2] for path in paths if (match := _SHARD.fullmatch(path.name))}
        for total in totals:
            wanted = {f"{split}-{number:05d}-of-{total}.parquet" for number in range(int(total))}
            missing += [str(folder / name) for name in sorted(wanted - {path.name for path in paths})]
        if len(totals) > 1:
            raise DataError(f"{folder} holds the {split} files of several versions: keep one.")
    if missing:
        raise DataError(f"{name_offenders(missing)} {'is' if len(missing) == 1 else 'are'} missing.")


def _read(
    path: Path, image: str, labels: Sequence[str], class_names: Sequence[str] | None = None
) -> tuple[Any, dict[str, np.ndarray]]:
    """Return a file's images, undecoded, as a memory-mapped `datasets.Dataset` of one column; and its labels."""
    from datasets import Dataset, Image, disable_progress_bars  # here, since importing it takes a second

    disable_progress_bars()
    logging.getLogger("datasets").setLevel(logging.CRITICAL)  # it prints what it raises
    try:
        with path.open("rb") as file:  # a copy is known by the content, not by the time the file was changed
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        rows = Dataset.from_parquet(str(path), cache_dir=str(cache_folder() / "parquet" / digest), batch_size=256)
    except Exception as error:  # pyarrow's own, json's, and the library's, whose cause says more
        cause = error.__cause__ or error
        fate = "cannot be read" if isinstance(cause, OSError) and cause.errno else "is truncated or damaged"
        raise DataError(f"{path} {fate} ({' '.join(str(cause).split())}).") from error
    _check_columns(path, rows, image, labels, class_names)
    table = rows.select_columns(list(labels)).with_format("arrow")[:]
    return rows.select_columns([image]).cast_column(image, Image(decode=False)), _labels(path, table)


def _bytes(row: Mapping[str, Any]) -> bytes:
    (image,) = row.values()
    return (image and image["bytes"]) or b""


def _check_columns(path: Path, rows: Any, image: str, labels: Sequence[str], class_names: Sequence[str] | None) -> None:
    import pyarrow as pa

    if missing := [repr(name) for name in (image, *labels) if name not in rows.column_names]:
        raise DataError(f"{path} has no column {name_offenders(missing)}, but {name_offenders(rows.column_names)}.")
    kind = rows.data.schema.field(image).type
    if not pa.types.is_binary(kind) and not (pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0):
        raise DataError(f"{path}: the column {image!r} holds {kind}, neither {{bytes, path}} nor bytes.")
    own = getattr(rows.features[labels[-1]], "names", None)  # as a ClassLabel has
    if None in (own, class_names) or list(own) == list(class_names):
        return
    other = next((pair for pair in zip(own, class_names, strict=False) if pair[0] != pair[1]), None)
    detail = f"{other[0]!r} in the place of {other[1]!r}" if other else f"{len(own)} instead of {len(class_names)}"
    raise DataError(f"{path} names other classes: {detail}.")


def _labels(path: Path, table: Any) -> dict[str, np.ndarray]:
    import pyarrow as pa

    problems = []
    values = {}
    for name in table.column_names:
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


def _decode(encoded: bytes, image: np.ndarray) -> str:
    """Decode into `image` (H, W, 3) uint8; return why that cannot be done, or "" when it is done."""
    from PIL import Image

    height, width, _ = image.shape
    if not encoded:
        return "no bytes"
    try:
        with warnings.catch_warnings():  # of many pixels: the size is looked at here
            warnings.simplefilter("ignore")
            opened = Image.open(io.BytesIO(encoded), formats=_LOSSLESS)
        with opened:
            if opened.size != (width, height) or opened.mode != "RGB":
                return f"{opened.width} x {opened.height} pixels of mode {opened.mode}, not {width} x {height} of RGB"
            image[:] = np.asarray(opened)
    except Exception as error:  # Pillow's decoders raise many types on damaged files, struct.error among them
        return str(error).splitlines()[0].split("<")[0].strip() if str(error) else type(error).__name__
    return ""
