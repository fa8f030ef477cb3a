"""Photographs in a folder for each group, whose place says class and bias value."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from ncbench import DataError, Split, name_offenders
from ncbench_datasets.layouts.class_folders import SUFFIXES
from ncbench_datasets.layouts.folders import entries
from ncbench_datasets.layouts.photographs import Photographs
from ncbench_datasets.made.twin_pictures import striped_on

TWIN_GROUNDS = ((110, 120, 50), (50, 110, 180), (150, 90, 60), (90, 90, 110), (200, 200, 205), (190, 160, 90))
"""Colours of the twins' images by bias value."""


@dataclass(frozen=True)
class GroupFolder:
    """A folder of images of one group.

    Args:
        path: Below the dataset's folder.
        target: Class of the images.
        bias: Their bias value, or one of each attribute.
        first: How many of them are read, in the order of their names; None for all.
    """

    path: str
    target: int
    bias: int | tuple[int, ...]
    first: int | None = None


class GroupFolders(Photographs):
    """Base of datasets that are laid out so; subclasses implement :meth:`folders`.

    Attributes:
        passed_over: What the names of files end with that are part of a release and no data, such as masks.
    """

    passed_over: ClassVar[tuple[str, ...]] = ()

    def folders(self) -> Mapping[str, Sequence[GroupFolder]]:
        """Return the folders of each split."""
        raise NotImplementedError

    @functools.cached_property
    def images(self) -> Mapping[str, Sequence[tuple[Path, GroupFolder]]]:
        """The images of each split, folder by folder in the order of their names.

        Raises:
            DataError: Folders are missing, hold no image, or hold other things; all are named.
        """
        problems: list[str] = []
        listed: dict[str, list[Path]] = {}
        found: dict[str, list[tuple[Path, GroupFolder]]] = {}
        for split, folders in self.folders().items():
            for folder in folders:
                if folder.path not in listed:
                    listed[folder.path] = self._list(self.source / folder.path, problems)
            found[split] = [(path, folder) for folder in folders for path in listed[folder.path][: folder.first]]
        if problems:
            raise DataError(f"{self.source} is not laid out as released: {name_offenders(problems)}.")
        return found

    def _list(self, folder: Path, problems: list[str]) -> list[Path]:
        try:
            inside = [name for name, _ in entries(folder) if not name.endswith(self.passed_over)]
        except DataError as error:
            problems.append(str(error).rstrip("."))
            return []
        problems += [f"{folder / name} is no image" for name in inside if not name.lower().endswith(SUFFIXES)]
        if not inside:
            problems.append(f"{folder} holds no images")
        return [folder / name for name in inside]

    def source_files(self) -> Sequence[Path]:
        """Return the images.

        Raises:
            DataError: As :attr:`images`.
        """
        return [path for images in self.images.values() for path, _ in images]

    def read(self) -> Mapping[str, Split]:
        """Read class and bias value off the folders; ids are the paths without their suffix.

        Raises:
            DataError: As :attr:`images`.
        """
        return {
            split: Split(
                inputs=[path for path, _ in images],
                target=np.array([folder.target for _, folder in images], dtype=np.int64),
                bias=np.array([folder.bias for _, folder in images], dtype=np.int64),
                ids=[path.relative_to(self.source).with_suffix("").as_posix() for path, _ in images],
            )
            for split, images in self.images.items()
        }

    @classmethod
    def synthesize(cls, root: Path) -> None:
        """Write images of each group: a class is a direction of stripes, a bias value the colour behind them."""
        dataset = cls(cls.Parameters(), root)
        sizes = [len(values) for values in dataset.attributes.values()] or [len(dataset.bias_names)]
        generator = np.random.default_rng(0)
        for split, folders in dataset.folders().items():
            for folder in folders:
                bias = int(np.ravel_multi_index(np.atleast_1d(folder.bias).tolist(), sizes))
                aligned = dataset.aligned_bias is not None and dataset.aligned_bias[folder.target] == bias
                number = (24 if aligned else 2) if split == "train" else 8
                ground = TWIN_GROUNDS[bias]
                write_group(
                    root / str(cls.folder) / folder.path,
                    number,
                    ground,
                    folder.target,
                    len(dataset.class_names),
                    generator,
                )


def write_group(
    folder: Path, number: int, ground: Sequence[int], target: int, num_classes: int, generator: np.random.Generator
) -> None:
    """Write a folder of a twin: images of a class on a ground."""
    from PIL import Image  # here, since only twins need it

    folder.mkdir(parents=True, exist_ok=True)
    for index in range(number):
        picture = striped_on(ground, target, num_classes, generator, (64, 80), contrast=15)
        Image.fromarray(picture).save(folder / f"{index:03d}.jpg", quality=90)
