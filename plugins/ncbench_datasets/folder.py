"""Images of the user's own, in a folder a class."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from ncbench import DataError, name_offenders
from ncbench_datasets.layouts.folders import entries, files_below
from ncbench_datasets.layouts.own import SPLITS, Labelled, OwnData, OwnParameters
from ncbench_datasets.layouts.photographs import PhotographParameters, Photographs
from ncbench_datasets.made.twin_pictures import striped_on


class FolderParameters(PhotographParameters, OwnParameters):
    """Parameters of a folder of images."""


class Folder(OwnData, Photographs):
    """Images whose folders say what they are: ``[split/]class/[attribute/]image``.

    ``folder:path=DIR``. The outermost folders are splits where all of them are called so (train, val, valid, test, …);
    below a class lie images, or a folder for each value of the bias attribute. Without a path, ``folder`` below a data
    root is read.
    """

    Parameters = FolderParameters
    folder = "folder"

    def source_files(self) -> Sequence[Path]:
        """Return every file but hidden ones."""
        return list(self.labelled.inputs)

    @cached_property
    def labelled(self) -> Labelled:
        """What the folders say of the files in them.

        Raises:
            DataError: A folder is empty, or images lie at different depths.
        """
        files = files_below([self.source])
        parts = [file.relative_to(self.source).parts for file in files]
        outermost = [name for name, is_folder in entries(self.source) if is_folder]
        in_splits = bool(outermost) and all(name.lower() in SPLITS and not name.isdecimal() for name in outermost)
        depth = len(parts[0]) - in_splits  # class/image or class/attribute/image
        odd = [str(Path(*names)) for names in parts if len(names) - in_splits != depth or depth not in (2, 3)]
        if odd:
            raise DataError(
                f"{self.source}: files must lie at one depth, as [split/]class/image or [split/]class/attribute/image, "
                f"and these do not: {name_offenders(odd)}."
            )
        return Labelled(
            inputs=files,
            ids=["/".join(names) for names in parts],
            target=[names[in_splits] for names in parts],
            attributes={"attribute": [names[in_splits + 1] for names in parts]} if depth == 3 else {},
            split=[names[0] for names in parts] if in_splits else None,
        )

    @classmethod
    def synthesize(cls, root: Path) -> None:
        """Write folders of images: a class is a direction of stripes, an attribute the colour behind them."""
        from PIL import Image

        generator = np.random.default_rng(0)
        for split, number in (("train", 40), ("val", 12), ("test", 24)):
            for index in range(number):
                target, place = index % 2, (index + (index % 7 == 0)) % 2
                folder = root / cls.folder / split / ("stripes", "bars")[target] / ("land", "water")[place]
                folder.mkdir(parents=True, exist_ok=True)
                ground = ((110, 120, 50), (50, 110, 180))[place]
                Image.fromarray(striped_on(ground, target, 2, generator, (64, 64))).save(folder / f"{index:03d}.png")
