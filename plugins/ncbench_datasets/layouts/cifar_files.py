"""CIFAR's two datasets in the layouts they circulate in (Krizhevsky, Learning Multiple Layers of Features, 2009).

Read are the hub's parquet files and the published binary files. The "python version" is a pickle, which can run any
code when it is read, so it never is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np

from ncbench import DataError, Dataset, Split
from ncbench_datasets.layouts.folders import content
from ncbench_datasets.layouts.hub_files import find_shards, read_pictures, write_pictures
from ncbench_datasets.made.twin_pictures import striped

SIDE = 32
SPLITS = ("train", "test")
IMAGE_COLUMN = "img"
_PIXELS = 3 * SIDE * SIDE


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

    @property
    def has_val(self) -> bool:
        """Whether it has a validation split, which was not published."""
        return False

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
                read_pictures(path, IMAGE_COLUMN, self.labels, self.class_names, self.image_size)
                if path.suffix == ".parquet"
                else read_binary(path, self.labels)
                for path in paths
            ]
            for path, (_, labels) in zip(paths, parts, strict=True):
                self.check_labels(path, labels)
            target = np.concatenate([labels[self.labels[-1]] for _, labels in parts])
            splits[split] = Split(
                inputs=np.concatenate([images for images, _ in parts]),
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
        if shards := find_shards((self.source, self.source / self.hub_folder), SPLITS):
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
            images = np.stack([striped(int(index), len(cls.class_names), generator, SIDE) for index in classes])
            path = root / str(cls.folder) / f"{split}-00000-of-00001.parquet"
            write_pictures(path, IMAGE_COLUMN, images, {name: values[classes] for name, values in labels.items()})


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
    values = content(path)
    record = len(labels) + _PIXELS
    if not values or len(values) % record:
        raise DataError(
            f"{path} is truncated or damaged: {len(values)} bytes are no whole number of records of {record}."
        )
    records = np.frombuffer(values, dtype=np.uint8).reshape(-1, record)
    planes = records[:, len(labels) :].reshape(-1, 3, SIDE, SIDE)
    return (
        np.ascontiguousarray(planes.transpose(0, 2, 3, 1)),
        {name: records[:, column].astype(np.int64) for column, name in enumerate(labels)},
    )
