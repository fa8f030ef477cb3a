"""Two classes and a bias, in folders of aligned and conflicting training images: BFFHQ, and Dogs & Cats."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np

from ncbench import DataError, Split
from ncbench_datasets.layouts.folders import files_below
from ncbench_datasets.layouts.photographs import WholePhotographs
from ncbench_datasets.layouts.suffixed_images import (
    SuffixedImage,
    conflict_folder,
    read_suffixed,
    suffixed_split,
)
from ncbench_datasets.made.twin_pictures import striped_on


class AlignedFolders(WholePhotographs):
    """Base of both: images named ``<id>_<class>_<bias>.png``, whose class and bias value are aligned if they are equal.

    The sources are ``<share>/align`` and ``<share>/conflict`` to train on (with a folder a class, or none), where the
    share is ``0.5pct`` and so on; ``valid``, which may lie in the share's folder or beside it, or not exist; and
    ``test``.

    Attributes:
        twin_grounds: Colours of the twin's images by bias value.
    """

    twin_grounds: ClassVar[Sequence[Sequence[int]]]

    @property
    def has_val(self) -> bool:
        """Whether there is a folder `valid`."""
        return "val" in self._folders()

    def source_files(self) -> Sequence[Path]:
        """Return every file of the folders but hidden ones.

        Raises:
            DataError: A folder is missing or empty.
        """
        return [path for folders in self._folders().values() for path in files_below(folders)]

    def read(self) -> Mapping[str, Split]:
        """Read classes and bias values off the file names.

        Raises:
            DataError: Names of another form, or labels that are out of range or contradict their folder; all are named.
        """
        return {
            split: suffixed_split(self.source, read_suffixed(folders, 2, 2, _misplaced))
            for split, folders in self._folders().items()
        }

    def _folders(self) -> Mapping[str, Sequence[Path]]:
        share = self.source / conflict_folder(self.params.conflict)
        if not share.is_dir():
            here = sorted(path.name for path in self.source.glob("*pct") if path.is_dir())
            raise DataError(f"{share} is missing; {self.source} has {', '.join(here) or 'no such folder'}.")
        folders = {"train": [share / "align", share / "conflict"]}
        for valid in (share / "valid", self.source / "valid"):
            if valid.is_dir():
                folders["val"] = [valid]
                break
        return {**folders, "test": [self.source / "test"]}

    @classmethod
    def synthesize(cls, root: Path) -> None:
        """Write the folders for the default share: a class is a direction of stripes, the bias the colour behind."""
        from PIL import Image

        generator = np.random.default_rng(0)
        top = root / str(cls.folder)
        share = conflict_folder(cls.Parameters.model_fields["conflict"].default)
        number = 0
        for split, groups in _TWIN.items():
            for (target, bias), images in groups.items():
                aligned = "align" if target == bias else "conflict"
                folder = top / share / aligned / str(target) if split == "train" else top / split
                folder.mkdir(parents=True, exist_ok=True)
                for _ in range(images):
                    picture = striped_on(cls.twin_grounds[bias], target, 2, generator, (128, 128), contrast=15)
                    Image.fromarray(picture).save(folder / f"{number}_{target}_{bias}.png")
                    number += 1


def _misplaced(image: SuffixedImage) -> str:
    """Say whether an image lies below `align` or `conflict` without being it."""
    folders = image.path.parts
    if "align" in folders[-3:-1] and image.target != image.bias:
        return "conflicting, but in the folder align"
    if "conflict" in folders[-3:-1] and image.target == image.bias:
        return "aligned, but in the folder conflict"
    return ""


# Images of each group (class, bias) of the twin, by split.
_TWIN = {
    "train": {(0, 0): 22, (0, 1): 2, (1, 0): 2, (1, 1): 22},
    "valid": {(0, 0): 8, (0, 1): 8, (1, 0): 8, (1, 1): 8},
    "test": {(0, 0): 12, (0, 1): 12, (1, 0): 12, (1, 1): 12},
}
