"""Biased Action Recognition (Nam et al., Learning from Failure, NeurIPS 2020, section 4.2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from ncbench import DataError, Dataset, Parameters, Split
from ncbench_datasets.twin_pictures import striped_on

CLASSES = ("climbing", "diving", "fishing", "pole vaulting", "racing", "throwing")
SUFFIXES = frozenset({".jpg", ".jpeg", ".png"})
_TWIN = {"train": 12, "test": 6}  # images of each class


class BarParameters(Parameters):
    """Parameters of BAR."""

    size: int = Field(224, ge=16, le=1024, description="height and width of the stored images, in pixels")


class Bar(Dataset):
    """Six actions, 1,941 images to train on and 654 to test.

    In training every action is seen at its usual place (climbing on rock walls, diving under water), in the test never.
    The place is not labelled: the bias attribute is unknown on both splits.

    The sources are ``train/<class>_<number>.jpg`` and ``test/<class>_<number>.jpg``, as released.
    """

    Parameters = BarParameters
    folder = "bar"
    class_names = CLASSES

    def __init__(self, params: Any, root: Path | None) -> None:
        super().__init__(params, root)
        self.image_size = (params.size, params.size)

    def source_files(self) -> Sequence[Path]:
        """Return every file of both folders but hidden ones.

        Raises:
            DataError: A folder is missing or empty.
        """
        return [path for split in _TWIN for path in self._files(split)]

    def read(self) -> Mapping[str, Split]:
        """Read classes off the file names.

        Raises:
            DataError: File names that are not ``<class>_<number>`` with a class of BAR; all are named.
        """
        return {split: self._read(split) for split in _TWIN}

    def _files(self, split: str) -> list[Path]:
        folder = self.source / split
        if not folder.is_dir():
            raise DataError(f"{folder} is missing.")
        files = [path for path in folder.iterdir() if not path.name.startswith(".")]
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
            shown = "; ".join(sorted(strange)[:20]) + (f"; and {len(strange) - 20} more" if len(strange) > 20 else "")
            raise DataError(
                f"{len(strange)} files are not named <class>_<number>.jpg, with a class of {', '.join(CLASSES)}: "
                f"{shown}."
            )
        found.sort()
        return Split(
            images=[path for _, _, path in found],
            target=np.array([target for target, _, _ in found], dtype=np.int64),
            bias=None,
            ids=[f"{split}/{path.stem}" for _, _, path in found],
        )

    @classmethod
    def synthesize(cls, root: Path) -> None:
        """Write both folders: a class is a figure, and in training it comes with a background of its own colour."""
        from PIL import Image

        generator = np.random.default_rng(0)
        for split, number in _TWIN.items():
            folder = root / cls.folder / split
            folder.mkdir(parents=True)
            for target, name in enumerate(CLASSES):
                for count in range(1, number + 1):
                    place = target if split == "train" else (target + count) % len(CLASSES)
                    image = Image.fromarray(striped_on(_GROUNDS[place], target, len(CLASSES), generator, (64, 80)))
                    image.save(folder / f"{name}_{count}.jpg", quality=90)


_GROUNDS = ((150, 110, 70), (40, 90, 190), (60, 150, 90), (200, 190, 120), (110, 110, 110), (190, 90, 90))
