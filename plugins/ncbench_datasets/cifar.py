"""CIFAR's two datasets in the layouts they circulate in (Krizhevsky, Learning Multiple Layers of Features, 2009).

Read are the hub's parquet files and the published binary files. The "python version" is a pickle, which can run any
code when it is read, so it never is.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from ncbench import DataError, Dataset, Split

SIDE = 32
SPLITS = ("train", "test")
_PIXELS = 3 * SIDE * SIDE
_FORMATS = ("PNG", "WEBP")  # lossless as the files in circulation use them
_SHARD = re.compile(r"(?:train|test)-(\d{5})-of-(\d{5})\.parquet")


class Cifar(Dataset):
    """Base of both datasets: images of 32 x 32 pixels in RGB, 50,000 to train on and 10,000 to test.

    The sources are, in this order of preference, ``train-*.parquet`` and ``test-*.parquet`` in the dataset's folder or
    in `hub_folder` below it (columns ``img`` {bytes, path} and `labels`), or `binary_folder` with `binary_files`.

    Attributes:
        hub_folder: Folder of the parquet files in the hub's repository.
        binary_folder: Folder the binary version unpacks to.
        binary_files: Its files, by split.
        pickle_folder: Folder the python version unpacks to, to tell its owner what to get instead.
        archive: Where the binary version is.
        labels: Names of an image's labels in the order of the binary records; the last is the target.
    """

    image_size = (SIDE, SIDE)
    hub_folder: ClassVar[str]
    binary_folder: ClassVar[str]
    binary_files: ClassVar[Mapping[str, Sequence[str]]]
    pickle_folder: ClassVar[str]
    archive: ClassVar[str]
    labels: ClassVar[Sequence[str]]

    def source_files(self) -> Sequence[Path]:
        """Return the files of the layout that is there.

        Raises:
            DataError: A file is missing, or there is only the python version, which is not read.
        """
        return [path for paths in self._sources().values() for path in paths]

    def read(self) -> Mapping[str, Split]:
        """Read both splits; ids are ``<split>-<row>``, rows counted through all files of the split.

        Raises:
            DataError: A file is truncated, damaged or of another layout, or a label contradicts another; the message
                names the file.
        """
        splits = {}
        for split, paths in self._sources().items():
            parts = [
                read_parquet(path, self.labels, self.class_names)
                if path.suffix == ".parquet"
                else read_binary(path, self.labels)
                for path in paths
            ]
            for path, (_, labels) in zip(paths, parts, strict=True):
                self.check_labels(path, labels)
            target = np.concatenate([labels[self.labels[-1]] for _, labels in parts])
            splits[split] = Split(
                images=np.concatenate([images for images, _ in parts]),
                target=target,
                bias=None,
                ids=[f"{split}-{row:05d}" for row in range(len(target))],
            )
        return splits

    def check_labels(self, path: Path, labels: Mapping[str, np.ndarray]) -> None:
        """Check what the labels of one file must hold to; here, nothing.

        Raises:
            DataError: They contradict each other.
        """

    def _sources(self) -> Mapping[str, Sequence[Path]]:
        for folder in (self.source, self.source / self.hub_folder):
            shards = {split: sorted(folder.glob(f"{split}-*.parquet")) for split in SPLITS}
            if any(shards.values()):
                _check_shards(folder, shards)
                return shards
        binary = self.source / self.binary_folder
        if binary.is_dir():
            files = {split: [binary / name for name in self.binary_files[split]] for split in SPLITS}
            if missing := [str(path) for paths in files.values() for path in paths if not path.is_file()]:
                raise DataError(f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing.")
            return files
        if (self.source / self.pickle_folder).is_dir():
            raise DataError(
                f"{self.source / self.pickle_folder} is the python version, a pickle, which could run any code and is "
                f"not read: unpack the binary version ({self.archive}) to {binary}, or get the parquet files."
            )
        raise DataError(f"{self.source} holds neither train-*.parquet and test-*.parquet nor {self.binary_folder}.")

    @classmethod
    def write_twin(cls, root: Path, labels: Mapping[str, np.ndarray], numbers: Mapping[str, int]) -> None:
        """Write the parquet files of a twin: a class is a direction of stripes in a colour.

        Args:
            root: The data root.
            labels: For each label the (K,) values that the classes 0..K-1 have.
            numbers: Images of each class, by split.
        """
        generator = np.random.default_rng(0)
        (root / str(cls.folder)).mkdir(parents=True)
        for split, number in numbers.items():
            classes = generator.permutation(np.repeat(np.arange(len(cls.class_names)), number))
            images = np.stack([_picture(int(index), len(cls.class_names), generator) for index in classes])
            path = root / str(cls.folder) / f"{split}-00000-of-00001.parquet"
            write_parquet(path, images, {name: values[classes] for name, values in labels.items()})


def read_binary(path: Path, labels: Sequence[str]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Read a file of the binary version: records of one byte a label, then 1024 red, green and blue values each.

    Args:
        path: The file.
        labels: Names of the label bytes.

    Returns:
        Images (N, 32, 32, 3) uint8, and (N,) int64 by label.

    Raises:
        DataError: The file cannot be read, or is no whole number of records long.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror or error}).") from error
    record = len(labels) + _PIXELS
    if not content or len(content) % record:
        raise DataError(
            f"{path} is truncated or damaged: {len(content)} bytes are no whole number of records of {record}."
        )
    records = np.frombuffer(content, dtype=np.uint8).reshape(-1, record)
    planes = records[:, len(labels) :].reshape(-1, 3, SIDE, SIDE)
    return (
        np.ascontiguousarray(planes.transpose(0, 2, 3, 1)),
        {name: records[:, column].astype(np.int64) for column, name in enumerate(labels)},
    )


def read_parquet(
    path: Path, labels: Sequence[str], class_names: Sequence[str]
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Read a parquet file in the hub's layout.

    Args:
        path: The file.
        labels: Names of the label columns; the last is the target.
        class_names: The target's names. A file that carries names of its own must agree.

    Returns:
        Images (N, 32, 32, 3) uint8, and (N,) int64 by label.

    Raises:
        DataError: The file is damaged or lacks a column, its class names are others, a label is empty or no integer,
            or images cannot be decoded to 32 x 32 RGB; all are named.
    """
    import pyarrow as pa  # here, since importing it takes a third of a second
    import pyarrow.parquet as pq

    pieces, values, bad = [], {name: [np.zeros(0, dtype=np.int64)] for name in labels}, []
    try:
        with pq.ParquetFile(path) as file:
            _check_columns(path, file.schema_arrow, labels, class_names)
            row = 0
            for batch in file.iter_batches(batch_size=2048, columns=["img", *labels]):
                for name in labels:
                    if batch.column(name).null_count:
                        raise DataError(f"{path} has {batch.column(name).null_count} rows without {name}.")
                    values[name].append(batch.column(name).to_numpy().astype(np.int64))
                images = np.zeros((len(batch), SIDE, SIDE, 3), dtype=np.uint8)
                for position, encoded in enumerate(batch.column("img").field("bytes").to_pylist()):
                    if reason := _decode(encoded, images[position]) if encoded else "no bytes":
                        bad.append(f"row {row + position} ({reason})")
                pieces.append(images)
                row += len(batch)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path} is truncated or damaged ({' '.join(str(error).split())}).") from error
    if bad:
        shown = "; ".join(bad[:20]) + (f"; and {len(bad) - 20} more" if len(bad) > 20 else "")
        raise DataError(f"{path} holds {len(bad)} images that cannot be decoded: {shown}.")
    pieces.append(np.zeros((0, SIDE, SIDE, 3), dtype=np.uint8))  # a file without rows is read as such
    return np.concatenate(pieces), {name: np.concatenate(parts) for name, parts in values.items()}


def write_parquet(path: Path, images: np.ndarray, labels: Mapping[str, np.ndarray]) -> None:
    """Write a parquet file in the hub's layout, images as PNG.

    Args:
        path: The file.
        images: (N, 32, 32, 3) uint8.
        labels: (N,) int64 by column name.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq
    from PIL import Image

    rows = []
    for image in images:
        encoded = io.BytesIO()
        Image.fromarray(image).save(encoded, "PNG")
        rows.append({"bytes": encoded.getvalue(), "path": None})
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    columns = {name: pa.array(values, pa.int64()) for name, values in labels.items()}
    pq.write_table(pa.table({"img": pa.array(rows, kind), **columns}), path)


def _check_shards(folder: Path, shards: Mapping[str, Sequence[Path]]) -> None:
    """Refuse a split that lacks a file: ``train-00001-of-00003`` says how many there must be."""
    missing = []
    for split, paths in shards.items():
        if not paths:
            missing.append(str(folder / f"{split}-*.parquet"))
        named = [match for path in paths if (match := _SHARD.fullmatch(path.name))]
        for total in {match[2] for match in named}:
            wanted = {f"{split}-{number:05d}-of-{total}.parquet" for number in range(int(total))}
            missing += [str(folder / name) for name in sorted(wanted - {path.name for path in paths})]
        if len({match[2] for match in named}) > 1:
            raise DataError(f"{folder} holds the {split} files of several versions: keep one.")
    if missing:
        raise DataError(f"{', '.join(missing[:20])} {'is' if len(missing) == 1 else 'are'} missing.")


def _check_columns(path: Path, schema: Any, labels: Sequence[str], class_names: Sequence[str]) -> None:
    import pyarrow as pa

    for name in ("img", *labels):
        if name not in schema.names:
            raise DataError(f"{path} has no column {name!r}, but {', '.join(schema.names)}.")
    for name in labels:
        if not pa.types.is_integer(schema.field(name).type):
            raise DataError(f"{path}: the column {name!r} holds {schema.field(name).type}, not integers.")
    kind = schema.field("img").type
    if not pa.types.is_struct(kind) or "bytes" not in {kind.field(index).name for index in range(kind.num_fields)}:
        raise DataError(f"{path}: the column 'img' holds {kind}, not {{bytes, path}}.")
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
    """Decode into `image` (32, 32, 3) uint8; return why that cannot be done, or "" when it is done."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(encoded), formats=_FORMATS) as opened:
            if opened.size != (SIDE, SIDE) or opened.mode != "RGB":
                return f"{opened.width} x {opened.height} pixels of mode {opened.mode}, not 32 x 32 of RGB"
            image[:] = np.asarray(opened)
    except Exception as error:  # Pillow's decoders raise many types on damaged files, struct.error among them
        return str(error).splitlines()[0].split("<")[0].strip() if str(error) else type(error).__name__
    return ""


def _picture(target: int, num_classes: int, generator: np.random.Generator) -> np.ndarray:
    """Draw stripes of the class's direction in the class's colour: (32, 32, 3) uint8."""
    rows, columns = np.mgrid[0:SIDE, 0:SIDE]
    angle = np.pi * (target % 10) / 10
    phase = np.cos(angle) * rows + np.sin(angle) * columns + generator.uniform(0, 8)
    lit = ((phase // 4) % 2)[:, :, None]
    turn = 2 * np.pi * (target // 10) / max(1, num_classes // 10)
    colour = 128 + 70 * np.cos(turn + 2 * np.pi * np.arange(3) / 3)
    noisy = colour * (0.6 + 0.6 * lit) + generator.normal(0, 12, (SIDE, SIDE, 3))
    return np.asarray(np.clip(noisy, 0, 255), dtype=np.uint8)
