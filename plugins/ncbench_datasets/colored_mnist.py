"""Colored MNIST, as made for Learning from Failure (Nam et al., NeurIPS 2020, section 4.1 and its published code)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ncbench import DataError
from ncbench_datasets.colouring import ColouredDigits, GreyDigits
from ncbench_datasets.idx import find_idx, read_idx, write_idx

_RAW = "MNIST/raw"
_PARTS = {"train": "train", "test": "t10k"}
_TWIN = {"train": 40, "test": 10}  # images of each digit


class ColoredMnist(ColouredDigits):
    """MNIST's 60,000 training and 10,000 test digits of 28x28 pixels, in ten colours.

    The sources are MNIST's four IDX files, plain or as .gz, in the layout of ``torchvision.datasets.MNIST("mnist")``.
    """

    folder = "mnist"
    image_size = (28, 28)

    def source_files(self) -> Sequence[Path]:
        """Return the four files.

        Raises:
            DataError: One is missing.
        """
        return [find_idx(self.source / _RAW, f"{part}-{kind}") for part in _PARTS.values() for kind in _KINDS]

    def grey_digits(self) -> tuple[GreyDigits, GreyDigits]:
        """Read MNIST.

        Raises:
            DataError: A file is truncated, damaged, of another size, or its labels are no digits.
        """
        return self._part("train"), self._part("test")

    def _part(self, name: str) -> GreyDigits:
        images_path, labels_path = (find_idx(self.source / _RAW, f"{_PARTS[name]}-{kind}") for kind in _KINDS)
        images, labels = read_idx(images_path, 3), read_idx(labels_path, 1)
        if images.shape[1:] != self.image_size:
            raise DataError(f"{images_path} holds images of {images.shape[1:]} pixels instead of {self.image_size}.")
        if len(images) != len(labels):
            raise DataError(f"{images_path} holds {len(images)} images, {labels_path} {len(labels)} labels.")
        if (labels > 9).any():
            raise DataError(f"{labels_path} holds the label {labels.max()}, which is no digit.")
        return GreyDigits(images, labels.astype(np.int64))

    @classmethod
    def synthesize(cls, root: Path) -> None:
        """Write MNIST's four files with digits drawn as seven-segment figures at random places."""
        raw = root / cls.folder / _RAW
        raw.mkdir(parents=True)
        generator = np.random.default_rng(0)
        for name, part in _PARTS.items():
            labels = generator.permutation(np.repeat(np.arange(10, dtype=np.uint8), _TWIN[name]))
            images = np.stack([_figure(int(label), generator) for label in labels])
            write_idx(raw / f"{part}-{_KINDS[0]}.gz", images)
            write_idx(raw / f"{part}-{_KINDS[1]}.gz", labels)


_KINDS = ("images-idx3-ubyte", "labels-idx1-ubyte")
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
