"""Biased Action Recognition (Nam et al., Learning from Failure, NeurIPS 2020, section 4.2)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field

from ncbench import DataError, Split, name_offenders
from ncbench_datasets.layouts.folders import entries, files_below
from ncbench_datasets.layouts.photographs import PhotographParameters, WholePhotographs
from ncbench_datasets.layouts.suffixed_images import (
    SuffixedImage,
    conflict_folder,
    read_suffixed,
    suffixed_split,
)
from ncbench_datasets.made.twin_pictures import striped_on

CLASSES = ("climbing", "diving", "fishing", "pole vaulting", "racing", "throwing")
SUFFIXES = frozenset({".jpg", ".jpeg", ".png"})
_TWIN = {"train": 12, "test": 6}  # images of each class
_TWIN_VARIANT = {"train/align": 12, "train/conflict/1pct": 1, "train/conflict/5pct": 2, "valid": 3, "test": 5}


class BarParameters(PhotographParameters):
    """Parameters of BAR."""

    conflict: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="0 reads the release; 0.01 or 0.05 its variant with that share of conflicting images",
    )


class Bar(WholePhotographs):
    """Six actions, 1,941 images to train on and 654 to test.

    In training every action is seen at its usual place (climbing on rock walls, diving under water), in the test never.
    The place is not labelled: the bias attribute is unknown on both splits.

    The sources are ``train/<class>_<number>.jpg`` and ``test/<class>_<number>.jpg``, as released.

    `conflict` reads another arrangement of the images (Lee et al., Revisiting the Importance of Amplifying Bias for
    Debiasing, AAAI 2023), named ``<id>_<class>_<place>.jpg``: ``align`` and ``conflict/1pct`` or ``5pct``, in ``train``
    or at the top, ``test`` and, if it is there, ``valid``. A place is that of the class of its number. Conflicting
    training images that are named by their own place get the next class's, as in the published code. Its test images
    may lie in folders named by the number of their class; then the release's may lie beside those folders.
    """

    Parameters = BarParameters
    folder = "bar"
    class_names = CLASSES

    def __init__(self, params: Any, root: Path | None) -> None:
        super().__init__(params, root)
        if params.conflict:
            self.bias_names = tuple(f"place of {name}" for name in CLASSES)

    @property
    def has_val(self) -> bool:
        """Whether it is the variant, and a folder `valid` is there."""
        return bool(self.params.conflict) and "val" in self._variant()

    @classmethod
    def counts_hold(cls, params: Any) -> Literal["all", "images", "none"]:
        """The manifest counts the images of the release."""
        return "none" if params.conflict else "all"

    def source_files(self) -> Sequence[Path]:
        """Return every file of the folders but hidden ones.

        Raises:
            DataError: A folder is missing or empty.
        """
        if self.params.conflict:
            return [path for folders in self._variant().values() for path in files_below(folders)]
        return [path for split in _TWIN for path in self._files(split)]

    def read(self) -> Mapping[str, Split]:
        """Read classes, and the variant's places, off the file names.

        Raises:
            DataError: File names of another form, or of no class of BAR, or that contradict their folder; all are
                named.
        """
        if not self.params.conflict:
            return {split: self._read(split) for split in _TWIN}
        number = len(CLASSES)
        splits = {}
        for split, folders in self._variant().items():
            images = [image for folder in folders for image in read_suffixed([folder], number, number, _fault(folder))]
            if split == "train":
                images = [_elsewhere(image) if folders[1] in image.path.parents else image for image in images]
            splits[split] = suffixed_split(self.source, images)
        return splits

    def _variant(self) -> Mapping[str, Sequence[Path]]:
        train = self.source / "train" if (self.source / "train" / "align").is_dir() else self.source
        folders = {"train": [train / "align", train / "conflict" / conflict_folder(self.params.conflict)]}
        if (self.source / "valid").is_dir():
            folders["val"] = [self.source / "valid"]
        test = self.source / "test"
        return {**folders, "test": sorted(path for path in test.glob("*") if _of_variant(path)) or [test]}

    def _files(self, split: str) -> list[Path]:
        folder = self.source / split
        files = [folder / name for name, _ in entries(folder) if not _of_variant(folder / name)]
        if not files:
            raise DataError(f"{folder} is empty.")
        return files

    def _read(self, split: str) -> Split:
        found: list[tuple[int, int, Path]] = []
        strange: list[str] = []
        for path in self._files(split):
            action, _, number = path.stem.rpartition("_")
            if action in CLASSES and number.isdecimal() and path.suffix.lower() in SUFFIXES:
                found.append((CLASSES.index(action), int(number), path))
            else:
                strange.append(str(path))
        if strange:
            raise DataError(
                f"{len(strange)} files are not named <class>_<number>.jpg, with a class of {', '.join(CLASSES)}: "
                f"{name_offenders(sorted(strange))}."
            )
        found.sort()
        return Split(
            inputs=[path for _, _, path in found],
            target=np.array([target for target, _, _ in found], dtype=np.int64),
            bias=None,
            ids=[f"{split}/{path.stem}" for _, _, path in found],
        )

    @classmethod
    def synthesize(cls, root: Path) -> None:
        """Write the release and the variant into one folder: a class is a figure, a place the colour behind it.

        In training a class comes with a place of its own; in the variant but for the conflicting images.
        """
        generator = np.random.default_rng(0)
        number = len(CLASSES)
        for split, images in _TWIN.items():
            for target, name in enumerate(CLASSES):
                for count in range(1, images + 1):
                    place = target if split == "train" else (target + count) % number
                    _draw(root / cls.folder / split / f"{name}_{count}.jpg", target, place, generator)
        for split, images in _TWIN_VARIANT.items():
            for target in range(number):
                for count in range(images):
                    aligned = split == "train/align" or (split == "valid" and count == 0)
                    place = target if aligned else (target + 1 + count) % number
                    name = f"{count}_{target}_{place}.jpg"
                    _draw(root / cls.folder / split / str(target) / name, target, place, generator)


def _draw(path: Path, target: int, place: int, generator: np.random.Generator) -> None:
    """Write one of the twin's images."""
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(striped_on(_GROUNDS[place], target, len(CLASSES), generator, (64, 80)))
    image.save(path, quality=90)


def _of_variant(path: Path) -> bool:
    """Whether this is a folder of the variant's, which may lie among the release's images."""
    return (path.name in ("align", "conflict") or path.name.isdecimal()) and path.is_dir()


def _fault(folder: Path) -> Callable[[SuffixedImage], str]:
    """Return what says what is wrong with an image of this folder."""
    if folder.name != "align":
        return lambda image: ""
    return lambda image: "" if image.target == image.bias else "conflicting, but in the folder align"


def _elsewhere(image: SuffixedImage) -> SuffixedImage:
    """Give a conflicting image that is named by its own place that of the next class."""
    return replace(image, bias=(image.target + 1) % len(CLASSES)) if image.target == image.bias else image


_GROUNDS = ((150, 110, 70), (40, 90, 190), (60, 150, 90), (200, 190, 120), (110, 110, 110), (190, 90, 90))
