"""ImageNet, as in the Large Scale Visual Recognition Challenge of 2012."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from ncbench import DataError, Split, name_offenders
from ncbench_datasets.layouts.class_folders import ClassFolders, write_class_folders
from ncbench_datasets.made.twin_pictures import striped

_WNID = re.compile(r"n\d{8}")
_TWIN = {"train": 12, "test": 6}  # images of each class
_TWIN_CLASSES = ("n01440764", "n01443537", "n01484850", "n01491361", "n01494475", "n01496331", "n01498041", "n01514668")


class ImageNet(ClassFolders):
    """1,281,167 photographs of 1,000 classes to train on; the challenge's 50,000 validation images are the test split
    (Russakovsky et al., ImageNet Large Scale Visual Recognition Challenge, IJCV 2015). No bias attribute is known.

    The sources are ``train/<wnid>/*.JPEG`` and ``val/<wnid>/*.JPEG``. Classes are named by their WordNet ids, in
    sorted order.
    """

    folder = "imagenet"
    folders = {"train": "train", "test": "val"}  # noqa: RUF012 - the base class declares it a class variable

    @cached_property
    def class_names(self) -> Sequence[str]:  # type: ignore[override]  # they are read off the folders
        """The names of the class folders."""
        return tuple(self.listings["train"])

    def read(self) -> Mapping[str, Split]:
        """Read classes off the folders' names; ids are ``<split>/<wnid>/<file's stem>``.

        Raises:
            DataError: Folders are missing, laid out otherwise, not named by WordNet ids, or not the same in both.
        """
        if strange := [name for name in self.class_names if not _WNID.fullmatch(name)]:
            raise DataError(
                f"{len(strange)} class folders of {self.source} have names that are no WordNet ids: "
                f"{name_offenders(strange)}."
            )
        return super().read()

    @classmethod
    def synthesize(cls, root: Path) -> None:
        """Write both folders, with eight of the classes: a class is a direction of stripes."""
        generator = np.random.default_rng(0)

        def draw(index: int) -> np.ndarray:
            return striped(index, len(_TWIN_CLASSES), generator)

        for split, number in _TWIN.items():
            write_class_folders(root / cls.folder / cls.folders[split], _TWIN_CLASSES, number, draw, suffix=".JPEG")
