"""ImageNet-9 and its backgrounds (Xiao, Engstrom, Ilyas & Madry, Noise or Signal, ICLR 2021)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from pydantic import Field

from ncbench_datasets.layouts.class_folders import ClassFolders, write_class_folders
from ncbench_datasets.layouts.photographs import PhotographParameters
from ncbench_datasets.made.twin_pictures import striped

Variation = Literal["original", "mixed_same", "mixed_rand", "mixed_next", "only_fg", "no_fg", "only_bg_b", "only_bg_t"]
_TWIN = {"in9l/train": 12, "in9l/val": 4}  # images of each class; of a variation, four


class ImageNet9Parameters(PhotographParameters):
    """Parameters of ImageNet-9."""

    test: Variation = Field(
        "mixed_rand", description="variation tested on; the paper's BG-gap is mixed_same's accuracy less mixed_rand's"
    )


class ImageNet9(ClassFolders):
    """Nine classes of ImageNet, tested with their foregrounds before backgrounds of any class.

    The background's class is not labelled: no bias attribute is known.

    The sources are IN-9L, ``in9l/{train,val}/<class>``, and the release of the challenge,
    ``bg_challenge/<variation>/val/<class>``.
    """

    Parameters = ImageNet9Parameters
    folder = "backgrounds_challenge"
    class_names = (
        *("00_dog", "01_bird", "02_wheeled vehicle", "03_reptile", "04_carnivore", "05_insect"),
        *("06_musical instrument", "07_primate", "08_fish"),
    )

    @property
    def folders(self) -> Mapping[str, str]:  # type: ignore[override]
        """The folders of the splits."""
        return {"train": "in9l/train", "val": "in9l/val", "test": _folder(self.params.test)}

    @classmethod
    def synthesize(cls, root: Path) -> None:
        """Write every folder: a class is a direction of stripes."""
        generator = np.random.default_rng(0)

        def draw(index: int) -> np.ndarray:
            return striped(index, len(cls.class_names), generator)

        for folder, number in {**_TWIN, **{_folder(name): 4 for name in get_args(Variation)}}.items():
            write_class_folders(root / cls.folder / folder, cls.class_names, number, draw, suffix=".JPEG")


def _folder(variation: str) -> str:
    return f"bg_challenge/{variation}/val"
