"""Datasets that come as MNIST's four IDX files: MNIST itself and what is laid out as it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np

from ncbench import DataError, Dataset, Split
from ncbench_datasets.layouts.idx import find_idx, read_idx, write_idx

PARTS = {"train": "train", "test": "t10k"}
KINDS = ("images-idx3-ubyte", "labels-idx1-ubyte")
CLASSES = 10
SIZE = (28, 28)
_TWIN = {"train": 40, "test": 10}  # images of each class


class MnistFiles(Dataset):
    """Base of the datasets read from four IDX files, plain or as .gz: grey images of 28x28 pixels in ten classes.

    Attributes:
        raw: Folder of the files below the dataset's folder, as torchvision has it.
        parts: The splits whose files are read.
    """

    image_size = SIZE
    raw: ClassVar[str]
    parts: ClassVar[Sequence[str]] = tuple(PARTS)

    def source_files(self) -> Sequence[Path]:
        """Return the images and the labels of each part.

        Raises:
            DataError: A file is missing.
        """
        return [find_idx(self.source / self.raw, f"{PARTS[part]}-{kind}") for part in self.parts for kind in KINDS]

    def grey_part(self, split: str) -> tuple[np.ndarray, np.ndarray]:
        """Read a split.

        Args:
            split: "train" or "test".

        Returns:
            Images (N, 28, 28) uint8 and classes (N,) int64.

        Raises:
            DataError: A file is truncated, damaged, of another size, or holds a label above 9.
        """
        images_path, labels_path = (find_idx(self.source / self.raw, f"{PARTS[split]}-{kind}") for kind in KINDS)
        images, labels = read_idx(images_path, 3), read_idx(labels_path, 1)
        if images.shape[1:] != SIZE:
            raise DataError(f"{images_path} holds images of {images.shape[1:]} pixels instead of {SIZE}.")
        if len(images) != len(labels):
            raise DataError(f"{images_path} holds {len(images)} images, {labels_path} {len(labels)} labels.")
        if (labels >= CLASSES).any():
            raise DataError(f"{labels_path} holds the label {labels.max()}, which is none of 0..{CLASSES - 1}.")
        return images, labels.astype(np.int64)

    @classmethod
    def synthesize(cls, root: Path) -> None:
        """Write the four files with digits drawn as seven-segment figures at random places."""
        raw = root / str(cls.folder) / cls.raw
        raw.mkdir(parents=True)
        generator = np.random.default_rng(0)
        for split, part in PARTS.items():
            labels = generator.permutation(np.repeat(np.arange(CLASSES, dtype=np.uint8), _TWIN[split]))
            images = np.stack([_figure(int(label), generator) for label in labels])
            write_idx(raw / f"{part}-{KINDS[0]}.gz", images)
            write_idx(raw / f"{part}-{KINDS[1]}.gz", labels)


class GreyMnist(MnistFiles):
    """Base of those that are taken as they are, with one channel and no bias attribute."""

    has_val = False

    def read(self) -> Mapping[str, Split]:
        """Read both splits; ids are ``<split>-<position>``.

        Raises:
            DataError: A file is truncated, damaged, of another size, or its labels are out of range.
        """
        splits = {}
        for split in PARTS:
            images, target = self.grey_part(split)
            ids = [f"{split}-{index:05d}" for index in range(len(target))]
            splits[split] = Split(inputs=images[..., None], target=target, bias=None, ids=ids)
        return splits


# Which of the segments top, upper left, upper right, middle, lower left, lower right, bottom are lit, by digit.
_SEGMENTS = (
    "1110111",
    "0010010",
    "1011101",
    "1011011",
    "0111010",
    "1101011",
    "1101111",
    "1010010",
    "1111111",
    "1111011",
)
_STROKES = (
    np.s_[0:3, 0:12],
    np.s_[0:11, 0:3],
    np.s_[0:11, 9:12],
    np.s_[8:11, 0:12],
    np.s_[8:19, 0:3],
    np.s_[8:19, 9:12],
    np.s_[16:19, 0:12],
)


def _figure(digit: int, generator: np.random.Generator) -> np.ndarray:
    image = np.zeros((28, 28), dtype=np.uint8)
    top, left = generator.integers(2, 8), generator.integers(5, 12)
    box = image[top : top + 19, left : left + 12]
    for lit, stroke in zip(_SEGMENTS[digit], _STROKES, strict=True):
        if lit == "1":
            box[stroke] = generator.integers(160, 256)
    return image
