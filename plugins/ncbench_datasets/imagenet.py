"""ImageNet, as in the Large Scale Visual Recognition Challenge of 2012."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from ncbench import DataError, Split
from ncbench_datasets.class_folders import Listing, check_classes, folder_split, list_classes, write_class_folders
from ncbench_datasets.offenders import named
from ncbench_datasets.photographs import Photographs
from ncbench_datasets.twin_pictures import striped

FOLDERS = {"train": "train", "test": "val"}  # the labels of the challenge's test images were never published
_WNID = re.compile(r"n\d{8}")
_TWIN = {"train": 12, "test": 6}  # images of each class
_TWIN_CLASSES = ("n01440764", "n01443537", "n01484850", "n01491361", "n01494475", "n01496331", "n01498041", "n01514668")


class ImageNet(Photographs):
    """1,281,167 photographs of 1,000 classes to train on; the challenge's 50,000 validation images are the test split
    (Russakovsky et al., ImageNet Large Scale Visual Recognition Challenge, IJCV 2015). No bias attribute is known.

    The sources are ``train/<wnid>/*.JPEG`` and ``val/<wnid>/*.JPEG``. Classes are named by their WordNet ids, in
    sorted order.
    """

    folder = "imagenet"

    @cached_property
    def class_names(self) -> Sequence[str]:  # type: ignore[override]  # it is read off the folders
        """The names of the class folders."""
        return tuple(self._listings["train"])

    def source_files(self) -> Sequence[Path]:
        """Return every image.

        Raises:
            DataError: A folder is missing, or is not laid out as ``<wnid>/<image>``.
        """
        return [path for listing in self._listings.values() for images in listing.values() for path in images]

    def read(self) -> Mapping[str, Split]:
        """Read classes off the folders' names; ids are ``<split>/<wnid>/<file's stem>``.

        Raises:
            DataError: As :meth:`source_files`; or folders are not named by WordNet ids, or not the same in both.
        """
        if strange := [name for name in self.class_names if not _WNID.fullmatch(name)]:
            raise DataError(
                f"{len(strange)} class folders of {self.source} have names that are no WordNet ids: {named(strange)}."
            )
        listings = {self.source / FOLDERS[split]: listing for split, listing in self._listings.items()}
        check_classes(listings, self.class_names)
        tags = {name: name for name in self.class_names}
        return {split: folder_split(split, listing, tags) for split, listing in self._listings.items()}

    @cached_property
    def _listings(self) -> Mapping[str, Listing]:
        # Kept, since listing more than a million files takes a while; a changed folder is another dataset's object.
        return {split: list_classes(self.source / folder) for split, folder in FOLDERS.items()}

    @classmethod
    def synthesize(cls, root: Path) -> None:
        """Write both folders, with eight of the classes: a class is a direction of stripes."""
        generator = np.random.default_rng(0)

        def draw(index: int) -> np.ndarray:
            return striped(index, len(_TWIN_CLASSES), generator)

        for split, number in _TWIN.items():
            write_class_folders(root / cls.folder / FOLDERS[split], _TWIN_CLASSES, number, draw, suffix=".JPEG")
