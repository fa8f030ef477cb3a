"""STL-10, its labelled images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ncbench import DataError, Dataset, Split, name_offenders
from ncbench_datasets.layouts.folders import content, text
from ncbench_datasets.made.twin_pictures import striped

SIDE = 96
SPLITS = ("train", "test")
BINARY_FOLDER = "stl10_binary"
NAMES_FILE = "class_names.txt"
_PIXELS = 3 * SIDE * SIDE
_TWIN = {"train": 12, "test": 6}  # images of each class


class Stl10(Dataset):
    """5,000 labelled images to train on and 8,000 to test, 96 x 96 pixels in RGB (Coates, Lee & Ng, An Analysis of
    Single-Layer Networks in Unsupervised Feature Learning, AISTATS 2011). No bias attribute is known.

    The sources are the files of the binary version, ``stl10_binary/{train,test}_{X,y}.bin`` and ``class_names.txt``.
    The 100,000 unlabelled images and the published folds are not read.
    """

    folder = "stl10"
    class_names = ("airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck")
    image_size = (SIDE, SIDE)
    has_val = False

    def source_files(self) -> Sequence[Path]:
        """Return the five files.

        Raises:
            DataError: Files are missing; all are named.
        """
        folder = self.source / BINARY_FOLDER
        files = [*(folder / f"{split}_{kind}.bin" for split in SPLITS for kind in "Xy"), folder / NAMES_FILE]
        if missing := [str(path) for path in files if not path.is_file()]:
            raise DataError(f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing.")
        return files

    def read(self) -> Mapping[str, Split]:
        """Read both splits; ids are ``<split>-<row>``.

        Raises:
            DataError: A file is truncated or damaged, labels are outside 1..10, or the classes have other names.
        """
        path = self.source / BINARY_FOLDER / NAMES_FILE
        names = text(path).split()
        if names != list(self.class_names):
            raise DataError(f"{path} names other classes: {' '.join(names) or 'none'}.")
        return {split: self._read(split) for split in SPLITS}

    def _read(self, split: str) -> Split:
        folder = self.source / BINARY_FOLDER
        images, target = read_images(folder / f"{split}_X.bin"), read_labels(folder / f"{split}_y.bin")
        if len(images) != len(target):
            raise DataError(f"{folder} holds {len(images)} {split} images and {len(target)} labels.")
        return Split(images, target, bias=None, ids=[f"{split}-{row:05d}" for row in range(len(target))])

    @classmethod
    def synthesize(cls, root: Path) -> None:
        """Write the five files: a class is a direction of stripes."""
        generator = np.random.default_rng(0)
        folder = root / cls.folder / BINARY_FOLDER
        folder.mkdir(parents=True)
        (folder / NAMES_FILE).write_text("\n".join(cls.class_names) + "\n", encoding="utf-8")
        for split, number in _TWIN.items():
            target = generator.permutation(np.repeat(np.arange(10), number))
            images = np.stack([striped(int(index), 10, generator, SIDE) for index in target])
            (folder / f"{split}_X.bin").write_bytes(images.transpose(0, 3, 2, 1).tobytes())
            (folder / f"{split}_y.bin").write_bytes((target + 1).astype(np.uint8).tobytes())


def read_images(path: Path) -> np.ndarray:
    """Read images: of each the red, the green and the blue values, column by column.

    Args:
        path: The file.

    Returns:
        (N, 96, 96, 3) uint8.

    Raises:
        DataError: The file cannot be read, or is no whole number of images long.
    """
    values = content(path)
    if not values or len(values) % _PIXELS:
        raise DataError(
            f"{path} is truncated or damaged: {len(values)} bytes are no whole number of images of {_PIXELS}."
        )
    planes = np.frombuffer(values, dtype=np.uint8).reshape(-1, 3, SIDE, SIDE)  # (image, channel, column, row)
    return np.ascontiguousarray(planes.transpose(0, 3, 2, 1))


def read_labels(path: Path) -> np.ndarray:
    """Read labels, one byte each.

    Args:
        path: The file.

    Returns:
        (N,) int64 classes 0..9.

    Raises:
        DataError: The file cannot be read, or labels are outside 1..10; they are named.
    """
    labels = np.frombuffer(content(path), dtype=np.uint8).astype(np.int64)
    if (wrong := np.flatnonzero((labels < 1) | (labels > 10))).size:
        offenders = name_offenders([f"row {row} has {labels[row]}" for row in wrong.tolist()])
        raise DataError(f"{path} holds {wrong.size} labels outside 1..10: {offenders}.")
    return labels - 1
