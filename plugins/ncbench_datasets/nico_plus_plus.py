"""NICO++: 60 classes in six contexts (Zhang et al., CVPR 2023)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field

from ncbench_datasets.layouts.folders import entries
from ncbench_datasets.layouts.group_folders import TWIN_GROUNDS, GroupFolder, GroupFolders, write_group
from ncbench_datasets.layouts.photographs import PhotographParameters

_TOP = "public_dg_0416/train"
_CONTEXTS = ("autumn", "dim", "grass", "outdoor", "rock", "water")
_TWIN_CLASSES = ("bear", "bicycle", "bird", "bus", "butterfly")


class NicoPlusPlusParameters(PhotographParameters):
    """Parameters of NICO++."""

    test: Literal["autumn+rock", "dim+grass", "outdoor+water"] = Field(
        "autumn+rock", description="the contexts tested on; the other four are trained on"
    )


class NicoPlusPlus(GroupFolders):
    """Photographs of 60 classes in six contexts that all of them share, of which two are left to the test.

    The context is the bias attribute. None goes along with a class, and those of the test are never trained on.

    The sources are the training images of the challenge's first track, ``public_dg_0416/train/<context>/<class>``.
    Classes are in the order of their names; a class may have no folder in a context.
    """

    Parameters = NicoPlusPlusParameters
    folder = "nicopp"
    has_val = False
    bias_names = _CONTEXTS
    aligned_bias = None

    @cached_property
    def class_names(self) -> Sequence[str]:  # type: ignore[override]  # they are read off the folders
        """The names of the class folders of all contexts.

        Raises:
            DataError: A context is missing.
        """
        return tuple(sorted({name for names in self._classes.values() for name in names}))

    @cached_property
    def _classes(self) -> Mapping[str, Sequence[str]]:
        return {context: [name for name, _ in entries(self.source / _TOP / context)] for context in _CONTEXTS}

    def folders(self) -> Mapping[str, Sequence[GroupFolder]]:
        """Return a folder for each context and class.

        Raises:
            DataError: A context is missing.
        """
        groups: dict[str, list[GroupFolder]] = {"train": [], "test": []}
        for bias, context in enumerate(_CONTEXTS):
            split = "test" if context in self.params.test.split("+") else "train"
            for name in self._classes[context]:
                groups[split].append(GroupFolder(f"{_TOP}/{context}/{name}", self.class_names.index(name), bias))
        return groups

    @classmethod
    def synthesize(cls, root: Path) -> None:
        """Write five of the classes: a class is a direction of stripes, a context the colour behind them."""
        generator = np.random.default_rng(0)
        for bias, context in enumerate(_CONTEXTS):
            for target, name in enumerate(_TWIN_CLASSES):
                folder = root / cls.folder / _TOP / context / name
                write_group(folder, 6, TWIN_GROUNDS[bias], target, len(_TWIN_CLASSES), generator)
