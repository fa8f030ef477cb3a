"""Street View House Numbers, cropped to single digits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ncbench import DataError, Dataset, Split, name_offenders
from ncbench_datasets.layouts.hub_files import find_shards, read_pictures
from ncbench_datasets.made.twin_pictures import striped

SIDE = 32
SPLITS = ("train", "test")
HUB_FOLDER = "cropped_digits"
IMAGE_COLUMN = "image"
LABEL_COLUMN = "label"
_COMPRESSED = b"\x0f\0\0\0"  # the tag of the first variable, behind a header of 128 bytes
_ZERO = 10  # the label that a MATLAB file gives to the digit 0
_TWIN = {"train": 40, "test": 10}  # images of each class


class Svhn(Dataset):
    """73,257 house-number digits to train on and 26,032 to test, in RGB (Netzer et al., Reading Digits in Natural
    Images with Unsupervised Feature Learning, NIPS workshop 2011). No bias attribute is known.

    The sources are, in this order of preference, ``train_32x32.mat`` and ``test_32x32.mat`` as published, or the hub's
    ``train-*.parquet`` and ``test-*.parquet`` in the dataset's folder or in ``cropped_digits`` below it. The published
    additional images are not read.
    """

    folder = "svhn"
    class_names = tuple(str(digit) for digit in range(10))
    image_size = (SIDE, SIDE)
    has_val = False

    def source_files(self) -> Sequence[Path]:
        """Return the files of the layout that is there.

        Raises:
            DataError: A file is missing.
        """
        return [path for paths in self._sources().values() for path in paths]

    def read(self) -> Mapping[str, Split]:
        """Read both splits; ids are ``<split>-<row>``, rows counted through all files of the split.

        Raises:
            DataError: A file is truncated, damaged or of another layout, or a label is no digit's; the message names
                the file.
        """
        return {split: self._read(split, paths) for split, paths in self._sources().items()}

    def _read(self, split: str, paths: Sequence[Path]) -> Split:
        parts = [read_mat(path) if path.suffix == ".mat" else self._read_parquet(path) for path in paths]
        target = np.concatenate([digits for _, digits in parts])
        return Split(
            inputs=np.concatenate([images for images, _ in parts]),
            target=target,
            bias=None,
            ids=[f"{split}-{row:05d}" for row in range(len(target))],
        )

    def _read_parquet(self, path: Path) -> tuple[np.ndarray, np.ndarray]:
        images, labels = read_pictures(path, IMAGE_COLUMN, [LABEL_COLUMN], self.class_names, self.image_size)
        return images, labels[LABEL_COLUMN]

    def _sources(self) -> Mapping[str, Sequence[Path]]:
        published = {split: self.source / f"{split}_32x32.mat" for split in SPLITS}
        missing = [str(path) for path in published.values() if not path.is_file()]
        if not missing:
            return {split: [path] for split, path in published.items()}
        if len(missing) == len(published):
            if shards := find_shards((self.source, self.source / HUB_FOLDER), SPLITS):
                return shards
            raise DataError(
                f"{self.source} holds neither train_32x32.mat and test_32x32.mat nor train-*.parquet and "
                "test-*.parquet."
            )
        raise DataError(f"{missing[0]} is missing.")

    @classmethod
    def synthesize(cls, root: Path) -> None:
        """Write both MATLAB files: a class is a direction of stripes."""
        generator = np.random.default_rng(0)
        (root / cls.folder).mkdir(parents=True)
        for split, number in _TWIN.items():
            digits = generator.permutation(np.repeat(np.arange(10), number))
            images = np.stack([striped(int(digit), 10, generator, SIDE) for digit in digits])
            write_mat(root / cls.folder / f"{split}_32x32.mat", images, digits)


def read_mat(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read a published file: the arrays X (32, 32, 3, N) and y (N, 1), where 10 stands for the digit 0.

    Args:
        path: The file.

    Returns:
        Images (N, 32, 32, 3) uint8 and digits (N,) int64.

    Raises:
        DataError: The file is truncated, damaged or of another format, lacks an array or has one of another shape or
            type, or labels are outside 1..10; all are named.
    """
    from scipy.io import loadmat  # here, since importing it takes a quarter of a second

    try:
        with path.open("rb") as file:
            compressed = file.read(132)[128:] == _COMPRESSED
        # Damage to the header of a variable that is not compressed can crash scipy, and with it the interpreter.
        content = loadmat(path, appendmat=False) if compressed else {}
    except Exception as error:  # scipy raises many types on damaged files, zlib's and struct's among them
        raise DataError(f"{path} is truncated or damaged ({' '.join(str(error).split())}).") from error
    if not compressed:
        raise DataError(f"{path} is no MATLAB file of version 5 whose variables are compressed, as published.")
    arrays = {name: array for name, array in content.items() if getattr(array, "dtype", np.dtype("O")).kind in "iuf"}
    if missing := [name for name in ("X", "y") if name not in arrays]:
        raise DataError(
            f"{path} holds no numeric {'array' if len(missing) == 1 else 'arrays'} {' and '.join(missing)}, but "
            f"{', '.join(arrays) or 'none'}."
        )
    images, labels = arrays["X"], arrays["y"]
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[:3] != (SIDE, SIDE, 3):
        raise DataError(f"{path}: X is {images.dtype} {images.shape}, not uint8 ({SIDE}, {SIDE}, 3, N).")
    if labels.shape != (images.shape[3], 1):
        raise DataError(f"{path}: y has the shape {labels.shape}, not ({images.shape[3]}, 1), one label an image.")
    labels = labels[:, 0]
    if (wrong := np.flatnonzero(~np.isin(labels, np.arange(1, _ZERO + 1)))).size:
        offenders = name_offenders([f"row {row} has {labels[row]}" for row in wrong.tolist()])
        raise DataError(f"{path} holds {wrong.size} labels outside 1..{_ZERO}: {offenders}.")
    return np.ascontiguousarray(images.transpose(3, 0, 1, 2)), labels.astype(np.int64) % _ZERO


def write_mat(path: Path, images: np.ndarray, digits: np.ndarray) -> None:
    """Write a file in the published layout.

    Args:
        path: The file.
        images: (N, 32, 32, 3) uint8.
        digits: (N,) int64 in 0..9.
    """
    from scipy.io import savemat  # here, since importing it takes a quarter of a second

    labels = np.where(digits == 0, _ZERO, digits).astype(np.uint8)
    content = {"X": images.transpose(1, 2, 3, 0), "y": labels[:, None]}
    savemat(path, content, appendmat=False, do_compression=True)
