"""CelebA with any of its attributes as the class and any other as the bias (Liu, Luo, Wang & Tang, ICCV 2015)."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pydantic
from pydantic import Field
from pydantic_core import PydanticCustomError

from ncbench import DataError, Split, name_offenders
from ncbench_datasets.layouts.celeba_tables import (
    ATTRIBUTE_FILE,
    ATTRIBUTES,
    PARTITION_FILE,
    find_table,
    read_attributes,
    read_partition,
    same_images,
)
from ncbench_datasets.layouts.hub_files import find_shards, read_images
from ncbench_datasets.layouts.listed_images import listed_images
from ncbench_datasets.layouts.photographs import PhotographParameters, WholePhotographs
from ncbench_datasets.made.twin_pictures import striped_on

SPLITS = ("train", "val", "test")
_HUB_LAYOUTS = {  # folder in the repository -> names of the splits there
    "img_align+identity+attr": ("train", "valid", "test"),  # flwrlabs/celeba: a column for each attribute
    "data": ("train", "validation", "test"),  # eurecom-ds/celeba: a column `attributes` of 40 numbers
}


class CelebaParameters(PhotographParameters):
    """Parameters of CelebA."""

    target: str = Field("Blond_Hair", description="the attribute that is the class, one of CelebA's 40")
    bias: str = Field("Male", validate_default=True, description="the bias attribute, another one of the 40")

    @pydantic.field_validator("target", "bias")
    @classmethod
    def _exists(cls, name: str) -> str:
        if name in ATTRIBUTES:
            return name
        nearest = difflib.get_close_matches(name, ATTRIBUTES, n=1)
        hint = f"the nearest is {nearest[0]}" if nearest else f"there are {', '.join(ATTRIBUTES)}"
        raise PydanticCustomError("attribute", "it is no attribute of CelebA: {hint}", {"hint": hint})

    @pydantic.field_validator("bias")
    @classmethod
    def _differs(cls, bias: str, info: pydantic.ValidationInfo) -> str:
        if bias == info.data.get("target"):
            raise PydanticCustomError("attribute", "it is the target already")
        return bias


class Celeba(WholePhotographs):
    """202,599 faces with 40 attributes each; by default blond hair is told apart, which goes along with the gender.

    Class and bias value are 1 where the image has the attribute. Images are 178 x 218 pixels; the middle 178 x 178 are
    kept, resized to `size`. (They are resized first and cropped then, which moves the edges by up to an eighth of a
    pixel.)

    The sources are ``img_align_celeba`` with ``list_attr_celeba`` and ``list_eval_partition`` beside it, both .txt as
    released or .csv as in copies of it; or the parquet files of the hub's flwrlabs/celeba or eurecom-ds/celeba.
    """

    Parameters = CelebaParameters
    folder = "celeba"
    has_val = True

    def __init__(self, params: Any, root: Path | None) -> None:
        super().__init__(params, root)
        self.class_names = (f"no {params.target}", params.target)
        self.bias_names = (f"no {params.bias}", params.bias)

    @classmethod
    def counts_hold(cls, params: Any) -> Literal["all", "images", "none"]:
        """The groups counted in the manifest are those of the default attributes."""
        defaults = CelebaParameters()
        same = (params.target, params.bias) == (defaults.target, defaults.bias)
        return "all" if same else "images"

    @cached_property
    def aligned_bias(self) -> Sequence[int]:  # type: ignore[override]
        """Which bias value goes along with a class follows from the training images: blond hair is not male.

        Raises:
            DataError: As :meth:`read`.
        """
        train = self.read()["train"]
        target, bias = train.target, np.asarray(train.bias)
        together = (target * bias).sum() * len(target) >= target.sum() * bias.sum()  # they are correlated positively
        return (0, 1) if together else (1, 0)

    def source_files(self) -> Sequence[Path]:
        """Return both tables and the images they list, or the hub's files.

        Raises:
            DataError: Files are missing, or the partition is damaged; all offenders are named.
        """
        if shards := self._shards():
            return [path for paths in shards.values() for path in paths]
        tables = [find_table(self.source, stem) for stem in (ATTRIBUTE_FILE, PARTITION_FILE)]
        return [*tables, *listed_images(self._images, read_partition(tables[1])[0].tolist())]

    def read(self) -> Mapping[str, Split]:
        """Read the tables or the hub's files.

        Raises:
            DataError: A file is damaged, or the tables list other images; all offenders are named.
        """
        if shards := self._shards():
            return {split: self._packed(split, paths) for split, paths in shards.items()}
        tables = [find_table(self.source, stem) for stem in (ATTRIBUTE_FILE, PARTITION_FILE)]
        (names, attributes), (listed, parts) = read_attributes(tables[0]), read_partition(tables[1])
        same_images(names, listed, tables)
        target, bias = attributes[self.params.target], attributes[self.params.bias]
        splits = {}
        for code, split in enumerate(SPLITS):
            mine = np.flatnonzero(parts == code)
            images = [self._images / name for name in names[mine].tolist()]
            splits[split] = Split(images, target[mine], bias[mine], names[mine].tolist())
        return splits

    @property
    def _images(self) -> Path:
        folder = self.source / "img_align_celeba"
        nested = folder / "img_align_celeba"  # as Kaggle's archive unpacks
        return nested if nested.is_dir() else folder

    def _shards(self) -> Mapping[str, Sequence[Path]]:
        for folder, names in _HUB_LAYOUTS.items():
            if shards := find_shards([self.source / folder], names):
                return {split: shards[name] for split, name in zip(SPLITS, names, strict=True)}
        return {}

    def _packed(self, split: str, paths: Sequence[Path]) -> Split:
        wanted = [self.params.target, self.params.bias]
        if paths[0].parent.name == "data":
            images, labels = read_images(paths, "image", ["attributes"])
            table = labels["attributes"].reshape(len(images), -1)  # (N, 40)
            if table.shape[1] != len(ATTRIBUTES):
                raise DataError(f"{paths[0]} and what is beside it hold {table.shape[1]} attributes, not 40.")
            labels = {name: table[:, ATTRIBUTES.index(name)] for name in wanted}
        else:
            images, labels = read_images(paths, "image", wanted)
        for name in wanted:
            wrong = np.flatnonzero((labels[name] != 0) & (labels[name] != 1)).tolist()
            if wrong:
                offenders = [f"{labels[name][row]} in {images[row]}" for row in wrong[:1000]]
                raise DataError(f"{len(wrong)} values of {name} are neither 0 nor 1: {name_offenders(offenders)}.")
        ids = [f"{split}-{row:06d}" for row in range(len(images))]
        return Split(images, labels[self.params.target], labels[self.params.bias], ids)

    @classmethod
    def synthesize(cls, root: Path) -> None:
        """Write the tables as released and the images: blond hair is a direction of stripes, gender the colour behind.

        The other attributes are drawn at random.
        """
        from PIL import Image

        generator = np.random.default_rng(0)
        images = root / cls.folder / "img_align_celeba"
        images.mkdir(parents=True)
        groups = [(code, *group) for code, split in enumerate(SPLITS) for group in _TWIN[split]]
        rows, parts = [], []
        for number, (code, target, bias) in enumerate(groups, start=1):
            name = f"{number:06d}.jpg"
            picture = striped_on(_GROUNDS[bias], target, 2, generator, (218, 178), contrast=15)
            Image.fromarray(picture).save(images / name, quality=90)
            values = dict(zip(ATTRIBUTES, generator.choice((-1, 1), len(ATTRIBUTES)).tolist(), strict=True))
            values |= {"Blond_Hair": 2 * target - 1, "Male": 2 * bias - 1}
            rows.append(f"{name} " + " ".join(f"{value:2d}" for value in values.values()))
            parts.append(f"{name} {code}")
        table = [str(len(groups)), " ".join(ATTRIBUTES) + " ", *rows]
        (root / cls.folder / f"{ATTRIBUTE_FILE}.txt").write_text("\n".join(table) + "\n", encoding="utf-8")
        (root / cls.folder / f"{PARTITION_FILE}.txt").write_text("\n".join(parts) + "\n", encoding="utf-8")


# The groups (blond, male) of the twin's images, by split.
_TWIN = {
    "train": [(0, 0)] * 4 + [(0, 1)] * 22 + [(1, 0)] * 20 + [(1, 1)] * 2,
    "val": [(0, 0)] * 8 + [(0, 1)] * 8 + [(1, 0)] * 8 + [(1, 1)] * 8,
    "test": [(0, 0)] * 12 + [(0, 1)] * 12 + [(1, 0)] * 12 + [(1, 1)] * 12,
}
_GROUNDS = ((180, 140, 120), (80, 90, 120))
