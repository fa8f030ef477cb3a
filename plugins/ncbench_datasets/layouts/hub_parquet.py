"""Small images in the parquet files of the hub: a column of {bytes, path}, and columns of integer labels."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ncbench import DataError, name_offenders

_FORMATS = ("PNG", "WEBP")  # lossless as the files in circulation use them
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


def read_parquet(
    path: Path, image: str, labels: Sequence[str], class_names: Sequence[str], size: tuple[int, int]
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Read a file.

    Args:
        path: The file.
        image: Name of the image column.
        labels: Names of the label columns; the last is the target.
        class_names: The target's names. A file that carries names of its own must agree.
        size: (H, W) every image must have.

    Returns:
        Images (N, H, W, 3) uint8, and (N,) int64 by label.

    Raises:
        DataError: The file is damaged or lacks a column, its class names are others, a label is empty or no integer,
            or images cannot be decoded to H x W in RGB; all are named.
    """
    import pyarrow as pa  # here, since importing it takes a third of a second
    import pyarrow.parquet as pq

    pieces, values, bad = [], {name: [np.zeros(0, dtype=np.int64)] for name in labels}, []
    try:
        with pq.ParquetFile(path) as file:
            _check_columns(path, file.schema_arrow, image, labels, class_names)
            row = 0
            for batch in file.iter_batches(batch_size=2048, columns=[image, *labels]):
                for name in labels:
                    if batch.column(name).null_count:
                        raise DataError(f"{path} has {batch.column(name).null_count} rows without {name}.")
                    values[name].append(batch.column(name).to_numpy().astype(np.int64))
                images = np.zeros((len(batch), *size, 3), dtype=np.uint8)
                for position, encoded in enumerate(batch.column(image).field("bytes").to_pylist()):
                    if reason := _decode(encoded, images[position]) if encoded else "no bytes":
                        bad.append(f"row {row + position} ({reason})")
                pieces.append(images)
                row += len(batch)
    except (pa.ArrowException, OSError) as error:
        raise damaged(path, error) from error
    if bad:
        raise DataError(f"{path} holds {len(bad)} images that cannot be decoded: {name_offenders(bad)}.")
    pieces.append(np.zeros((0, *size, 3), dtype=np.uint8))  # a file without rows is read as such
    return np.concatenate(pieces), {name: np.concatenate(parts) for name, parts in values.items()}


def write_parquet(path: Path, image: str, images: np.ndarray, labels: Mapping[str, np.ndarray]) -> None:
    """Write a file, its images as PNG.

    Args:
        path: The file.
        image: Name of the image column.
        images: (N, H, W, 3) uint8.
        labels: (N,) int64 by column name.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq
    from PIL import Image

    rows = []
    for pixels in images:
        encoded = io.BytesIO()
        Image.fromarray(pixels).save(encoded, "PNG")
        rows.append({"bytes": encoded.getvalue(), "path": None})
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    columns = {name: pa.array(values, pa.int64()) for name, values in labels.items()}
    pq.write_table(pa.table({image: pa.array(rows, kind), **columns}), path)


def damaged(path: Path, error: Exception) -> DataError:
    """Return the error for a parquet file that pyarrow cannot read."""
    return DataError(f"{path} is truncated or damaged ({' '.join(str(error).split())}).")


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


def _check_columns(path: Path, schema: Any, image: str, labels: Sequence[str], class_names: Sequence[str]) -> None:
    import pyarrow as pa

    for name in (image, *labels):
        if name not in schema.names:
            raise DataError(f"{path} has no column {name!r}, but {', '.join(schema.names)}.")
    for name in labels:
        if not pa.types.is_integer(schema.field(name).type):
            raise DataError(f"{path}: the column {name!r} holds {schema.field(name).type}, not integers.")
    kind = schema.field(image).type
    if not pa.types.is_struct(kind) or "bytes" not in {kind.field(index).name for index in range(kind.num_fields)}:
        raise DataError(f"{path}: the column {image!r} holds {kind}, not {{bytes, path}}.")
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        names = features[labels[-1]]["names"]
    except (KeyError, TypeError, ValueError):
        return  # files need not carry names
    if list(names) != list(class_names):
        other = next((pair for pair in zip(names, class_names, strict=False) if pair[0] != pair[1]), None)
        detail = (
            f"{other[0]!r} in the place of {other[1]!r}" if other else f"{len(names)} instead of {len(class_names)}"
        )
        raise DataError(f"{path} names other classes: {detail}.")


def _decode(encoded: bytes, image: np.ndarray) -> str:
    """Decode into `image` (H, W, 3) uint8; return why that cannot be done, or "" when it is done."""
    from PIL import Image

    height, width, _ = image.shape
    try:
        with Image.open(io.BytesIO(encoded), formats=_FORMATS) as opened:
            if opened.size != (width, height) or opened.mode != "RGB":
                return f"{opened.width} x {opened.height} pixels of mode {opened.mode}, not {width} x {height} of RGB"
            image[:] = np.asarray(opened)
    except Exception as error:  # Pillow's decoders raise many types on damaged files, struct.error among them
        return str(error).splitlines()[0].split("<")[0].strip() if str(error) else type(error).__name__
    return ""
