"""tieredImageNet-H: a part of ImageNet with the WordNet hierarchy above its classes."""

from __future__ import annotations

import functools
import importlib.resources
import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ncbench_datasets.layouts.class_folders import ClassFolders, write_class_folders
from ncbench_datasets.layouts.hierarchies import load_hierarchy
from ncbench_datasets.made.twin_pictures import striped

if TYPE_CHECKING:
    from ncbench.geometry import Hierarchy

TREE = "tiered_imagenet_h_hierarchy.json"
_TWIN = {"train": 2, "val": 1, "test": 1}  # images of each class


class TieredImageNetH(ClassFolders):
    """608 classes of ImageNet under a WordNet tree of height 12, its leaves at various depths (Bertinetto et al.,
    Making Better Mistakes, CVPR 2020). No bias attribute is known.

    The sources are ``{train,val,test}/<wnid>/*.JPEG``, every class in every split. The tree comes with the package.
    """

    folder = "tiered_imagenet_h"
    folders = {"train": "train", "val": "val", "test": "test"}  # noqa: RUF012 - a class variable of the base class

    @cached_property
    def class_names(self) -> Sequence[str]:  # type: ignore[override]  # they come with the tree
        """The WordNet ids of the classes, sorted."""
        return class_tree().classes

    @cached_property
    def hierarchy(self) -> Hierarchy:  # type: ignore[override]
        """The published tree."""
        return class_tree()

    @classmethod
    def synthesize(cls, root: Path) -> None:
        """Write the three folders: a class is a direction of stripes in a colour."""
        generator = np.random.default_rng(0)
        classes = class_tree().classes

        def draw(index: int) -> np.ndarray:
            return striped(index, len(classes), generator)

        for split, number in _TWIN.items():
            write_class_folders(root / cls.folder / cls.folders[split], classes, number, draw, suffix=".JPEG")


@functools.cache
def class_tree() -> Hierarchy:
    """Return the class tree of the published code of Liang & Davis (ICCV 2023), which is that of Bertinetto et al.

    Raises:
        DataError: The file in the package is damaged.
    """
    source = importlib.resources.files("ncbench_datasets").joinpath(TREE)
    return load_hierarchy(source, json.loads(source.read_text(encoding="utf-8"))["classes"])
