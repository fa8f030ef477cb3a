"""Images laid out with one folder a class: ``<class>/<image>``."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np

from ncbench import DataError, Split, name_offenders
from ncbench_datasets.layouts.folders import entries
from ncbench_datasets.layouts.photographs import Photographs

SUFFIXES = (".jpeg", ".jpg", ".png")

Listing = Mapping[str, Sequence[Path]]
"""The image files of each class folder, both in the order of their names."""


class ClassFolders(Photographs):
    """Base of datasets of photographs in ``<folder of the split>/<class>/<image>``, without a bias attribute.

    Attributes:
        folders: The splits' folders below the dataset's, by split.
    """

    folders: ClassVar[Mapping[str, str]]

    @cached_property
    def listings(self) -> Mapping[str, Listing]:
        """What each split's folder holds, read once: listing more than a million files takes a while.

        Raises:
            DataError: As :func:`list_classes`.
        """
        return {split: list_classes(self.source / folder) for split, folder in self.folders.items()}

    @property
    def has_val(self) -> bool:
        """Whether a folder is that of a validation split."""
        return "val" in self.folders

    def source_files(self) -> Sequence[Path]:
        """Return every image.

        Raises:
            DataError: A folder is missing, or is not laid out as ``<class>/<image>``.
        """
        return [path for listing in self.listings.values() for images in listing.values() for path in images]

    def read(self) -> Mapping[str, Split]:
        """Read classes off the folders' names; ids are ``<split>/<class>/<file's stem>``.

        Raises:
            DataError: As :meth:`source_files`, or a folder does not hold the dataset's classes; all are named.
        """
        listings = {self.source / self.folders[split]: listing for split, listing in self.listings.items()}
        check_classes(listings, self.class_names)
        tags = {name: name for name in self.class_names}
        return {split: folder_split(split, listing, tags) for split, listing in self.listings.items()}


def list_classes(folder: Path) -> Listing:
    """List what a folder holds; hidden files and folders are passed over.

    Classes are named in Unicode's composed form, whichever the disk has, so that they are the same everywhere.

    Raises:
        DataError: The folder is missing or empty, files lie beside the class folders, class folders hold no image or
            have one name, or files in them are no images; all are named.
    """
    problems = []
    listing: dict[str, list[Path]] = {}
    for name, is_folder in entries(folder):
        if not is_folder:
            problems.append(f"{folder / name} is no class folder")
            continue
        inside = [inner for inner, _ in entries(folder / name)]
        images = [folder / name / inner for inner in inside if inner.lower().endswith(SUFFIXES)]
        problems += [f"{folder / name / inner} is no image" for inner in inside if not inner.lower().endswith(SUFFIXES)]
        if not images:
            problems.append(f"{folder / name} holds no images")
        composed = unicodedata.normalize("NFC", name)
        if composed in listing:
            problems.append(f"{folder / name} has the name of another class folder, in another form of Unicode")
        listing[composed] = images
    if not listing:
        problems.append("it holds no class folders")
    if problems:
        raise DataError(f"{folder} is not laid out as <class>/<image>: {name_offenders(problems)}.")
    return dict(sorted(listing.items()))


def check_classes(listings: Mapping[Path, Listing], classes: Collection[str]) -> None:
    """Check that every folder holds the same classes.

    Args:
        listings: By folder.
        classes: The classes there must be.

    Raises:
        DataError: Class folders are missing or too many; all are named.
    """
    known = set(classes)
    problems = []
    for folder, listing in listings.items():
        problems += [f"{folder / name} is missing" for name in sorted(known - listing.keys())]
        problems += [f"{folder / name} is no class" for name in sorted(listing.keys() - known)]
    if problems:
        raise DataError(f"The class folders do not fit the classes: {name_offenders(problems)}.")


def folder_split(split: str, listing: Listing, tags: Mapping[str, str]) -> Split:
    """Return a split of the images of class folders, without a bias attribute.

    Args:
        split: Its name.
        listing: The class folders' images.
        tags: For each class folder, in class order, what stands for it in the ids ``<split>/<tag>/<file's stem>``.
    """
    counts = [len(listing[name]) for name in tags]
    return Split(
        inputs=[path for name in tags for path in listing[name]],
        target=np.repeat(np.arange(len(tags)), counts),
        bias=None,
        ids=[f"{split}/{tag}/{path.stem}" for name, tag in tags.items() for path in listing[name]],
    )


def write_class_folders(
    folder: Path, classes: Sequence[str], number: int, draw: Callable[[int], np.ndarray], suffix: str = ".jpg"
) -> None:
    """Write the class folders of a twin.

    Args:
        folder: Where the class folders go.
        classes: Their names, in class order.
        number: Images of each class.
        draw: Returns a picture (H, W, 3) uint8 of a class.
        suffix: Of the files, which are JPEG.
    """
    from PIL import Image  # here, since only twins need it

    for index, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for count in range(number):
            path = folder / name / f"{folder.name}_{index:05d}_{count:03d}{suffix}"
            Image.fromarray(draw(index)).save(path, "JPEG", quality=90)
