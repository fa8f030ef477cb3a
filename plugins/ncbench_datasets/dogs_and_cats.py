"""Dogs & Cats: pets told apart, which in training goes along with the brightness of their fur."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pydantic
from pydantic import Field
from pydantic_core import PydanticCustomError

from ncbench import ConfigurationError, DataError, Split, name_offenders
from ncbench_datasets.layouts.aligned_folders import AlignedFolders
from ncbench_datasets.layouts.folders import content
from ncbench_datasets.layouts.listed_images import listed_images
from ncbench_datasets.layouts.photographs import PhotographParameters
from ncbench_datasets.layouts.suffixed_images import conflict_folder
from ncbench_datasets.made.held_out import HoldsOut, ValBias, ValShare, draw, hold_out, refuse_share
from ncbench_datasets.made.twin_pictures import striped_on

LISTS = ("list_dark.txt", "list_bright.txt")  # by bias value
TESTED = 0.2  # of the smallest group, the images of each group that are kept to test on
_NAME = re.compile(r"(cat|dog)\.(\d+)\.jpg")
_DEFAULT_CONFLICT = 0.01

_Groups = Mapping[tuple[int, int], Sequence[str]]
"""Names of the images of each group (class, bias value)."""


class DogsAndCatsParameters(PhotographParameters):
    """Parameters of Dogs & Cats."""

    conflict: float = Field(
        _DEFAULT_CONFLICT,
        gt=0,
        lt=1,
        description="share of conflicting training images: 0.01 reads the folder 1pct, or draws them from the lists",
    )
    protocol: Literal["shares", "tb1", "tb2"] = Field(
        "shares",
        description="shares: the share `conflict` of the training images conflicts (Lee et al.); tb1: by the lists, "
        "trained on dark cats and bright dogs, tested on the others (Kim et al.); tb2: the other way round",
    )
    val: ValShare = 0.0
    val_bias: ValBias = "same"

    @pydantic.field_validator("protocol")
    @classmethod
    def _has_no_conflict(cls, protocol: str, info: pydantic.ValidationInfo) -> str:
        if protocol != "shares" and info.data.get("conflict", _DEFAULT_CONFLICT) != _DEFAULT_CONFLICT:
            raise PydanticCustomError("protocol", "no image it trains on is conflicting: leave out conflict")
        return protocol

    @pydantic.field_validator("val_bias")
    @classmethod
    def _can_be_uniform(cls, bias: str, info: pydantic.ValidationInfo) -> str:
        if bias == "uniform" and info.data.get("protocol", "shares") != "shares":
            raise PydanticCustomError(
                "val_bias", "tb1 and tb2 have conflicting images in the test only: leave out protocol, or val_bias"
            )
        return bias


class DogsAndCats(AlignedFolders, HoldsOut):
    """Pets told apart, which in training goes along with the brightness of their fur.

    From Kim et al. (Learning Not to Learn, CVPR 2019), in the shares of Lee et al. (Revisiting the Importance of
    Amplifying Bias for Debiasing, AAAI 2023).

    The sources are the folders that Lee et al. released; or the lists that Kim et al. did, ``list_dark.txt`` and
    ``list_bright.txt``, and Kaggle's Dogs vs. Cats, ``train/cat.<number>.jpg`` and ``train/dog.<number>.jpg``. Both may
    be there: `protocol` and `val` need the lists, otherwise a share is read off its folder if there is one.

    By the lists, tb1 and tb2 train on one half and test on the other. With a share of conflicting images, each group
    keeps as many images to test on, a fifth of the smallest; the training images are as many of the others as have that
    share in each class. Who is drawn follows from the names alone, and the test is the same for every share.

    Validation images are held out of each training group. For ``val_bias=uniform``, conflicting images that are neither
    trained nor tested on fill them up until there are as many as aligned ones; training stays as for ``same``.
    """

    Parameters = DogsAndCatsParameters
    folder = "dogs_and_cats"
    class_names = ("cat", "dog")
    bias_names = ("dark", "bright")
    twin_grounds = ((50, 45, 40), (190, 185, 175))

    @property
    def aligned_bias(self) -> Sequence[int]:
        """Cats are dark and dogs bright in training, but for tb2."""
        return (1, 0) if self.params.protocol == "tb2" else (0, 1)

    @property
    def has_val(self) -> bool:
        """Whether a share is held out, or there is a folder `valid`."""
        return bool(self.params.val) if self._by_lists else super().has_val

    @classmethod
    def counts_hold(cls, params: Any) -> Literal["all", "images", "none"]:
        """The manifest counts the images of tb1."""
        return "all" if params.protocol == "tb1" else "none"

    def source_files(self) -> Sequence[Path]:
        """Return both lists and the images they name, or every file of the folders but hidden ones.

        Raises:
            DataError: A list, an image or a folder is missing, or a list is damaged; all offenders are named.
        """
        if not self._by_lists:
            return super().source_files()
        images = listed_images(self.source / "train", [name for names in self._groups.values() for name in names])
        return [*(self.source / name for name in LISTS), *images]

    def read(self) -> Mapping[str, Split]:
        """Read classes and bias values off the lists, or off the names in the folders.

        Raises:
            ConfigurationError: The share to validate on leaves a class without images, or takes more conflicting ones
                than there are.
            DataError: As :meth:`source_files`; or names in the folders have another form, or contradict their folder.
        """
        if not self._by_lists:
            return super().read()
        if self.params.protocol == "shares":
            train, test, spare = self._drawn()
        else:
            aligned = {(target, bias) for target, bias in enumerate(self.aligned_bias)}
            train = {group: names for group, names in self._groups.items() if group in aligned}
            test = {group: names for group, names in self._groups.items() if group not in aligned}
            spare = {}
        return {**self._parted(train, spare), "test": self._split(test)}

    @property
    def _by_lists(self) -> bool:
        if self.params.protocol != "shares" or self.params.val:
            return True
        released = self.source / conflict_folder(self.params.conflict)
        return not released.is_dir() and any((self.source / name).is_file() for name in LISTS)

    @cached_property
    def _groups(self) -> _Groups:
        return read_lists([self.source / name for name in LISTS], self.class_names)

    def _drawn(self) -> tuple[_Groups, _Groups, _Groups]:
        """Return what is trained on, what is tested on, and what is left, each in the order it was drawn."""
        drawn = {group: [names[i] for i in draw(names, "test").tolist()] for group, names in self._groups.items()}
        tested = round(TESTED * min(map(len, drawn.values())))
        test = {group: names[:tested] for group, names in drawn.items()}
        share, numbers = self.params.conflict, {}
        for target, bias in enumerate(self.aligned_bias):
            aligned, conflicting = (target, bias), (target, 1 - bias)
            left = {group: len(drawn[group]) - tested for group in (aligned, conflicting)}
            total = min(left[aligned] / (1 - share), left[conflicting] / share)
            numbers |= {aligned: max(1, round(total * (1 - share))), conflicting: max(1, round(total * share))}
        ends = {group: tested + number for group, number in numbers.items()}
        train = {group: names[tested : ends[group]] for group, names in drawn.items()}
        return train, test, {group: names[ends[group] :] for group, names in drawn.items()}

    def _parted(self, train: _Groups, spare: _Groups) -> Mapping[str, Split]:
        """Hold out validation images, and say how many of the spare ones make their bias uniform.

        Raises:
            ConfigurationError: A class would have no image on one of the sides, or there are too few conflicting ones.
        """
        share = self.params.val
        if not share:
            return {"train": self._split(train)}
        by_class = [[group for group in train if group[0] == target] for target in range(len(self.class_names))]
        largest = [max(groups, key=lambda group: len(train[group])) for groups in by_class]
        refuse_share(share, {self._called(*group): len(train[group]) for group in largest})
        held = {group: hold_out(names, np.zeros(len(names), dtype=np.int64), share) for group, names in train.items()}
        kept, val = (
            {group: [names[i] for i in np.flatnonzero(held[group] == side)] for group, names in train.items()}
            for side in (False, True)
        )
        if self.params.val_bias == "uniform":
            val = self._evened(val, spare)
        return {"train": self._split(kept), "val": self._split(val)}

    def _evened(self, val: _Groups, spare: _Groups) -> _Groups:
        """Fill the groups of each class up with spare images until they are equal."""
        wanted = {group: max(len(val[group[0], 0]), len(val[group[0], 1])) - len(names) for group, names in val.items()}
        if lacking := [group for group, number in wanted.items() if number > len(spare[group])]:
            # What is wanted grows with the share, but for a rounding of one image.
            works = self.params.val * min((len(spare[group]) - 1) / (wanted[group] + 1) for group in lacking)
            raise ConfigurationError(
                f"val={self.params.val:g} with val_bias=uniform takes {wanted[lacking[0]]} more images of "
                f"{self._called(*lacking[0])!r}, of which {len(spare[lacking[0]])} are left beside training and test: "
                f"{f'a share up to {math.floor(works * 1e4) / 1e4:g}, or ' if works > 0 else ''}val_bias=same works."
            )
        return {group: [*names, *spare[group][: wanted[group]]] for group, names in val.items()}

    def _called(self, target: int, bias: int) -> str:
        return f"{self.bias_names[bias]} {self.class_names[target]}"

    def _split(self, groups: _Groups) -> Split:
        rows = sorted((target, _number(name), bias, name) for (target, bias), names in groups.items() for name in names)
        return Split(
            inputs=[self.source / "train" / name for *_, name in rows],
            target=np.array([target for target, *_ in rows], dtype=np.int64),
            bias=np.array([bias for _, _, bias, _ in rows], dtype=np.int64),
            ids=[f"train/{name.removesuffix('.jpg')}" for *_, name in rows],
        )

    @classmethod
    def synthesize(cls, root: Path) -> None:
        """Write both layouts: a class is a direction of stripes, the bias the colour behind."""
        from PIL import Image

        super().synthesize(root)
        generator = np.random.default_rng(1)
        images = root / cls.folder / "train"
        images.mkdir()
        listed: dict[int, list[str]] = {0: [], 1: []}
        for (target, bias), number in _TWIN.items():
            for _ in range(number):
                name = f"{cls.class_names[target]}.{sum(map(len, listed.values()))}.jpg"
                picture = striped_on(cls.twin_grounds[bias], target, 2, generator, (96, 96), contrast=15)
                Image.fromarray(picture).save(images / name, quality=90)
                listed[bias].append(name)
        for bias, names in listed.items():
            (root / cls.folder / LISTS[bias]).write_text("\n".join(sorted(names)) + "\n", encoding="utf-8")


def read_lists(paths: Sequence[Path], class_names: Sequence[str]) -> _Groups:
    """Read lists of images, ``<class>.<number>.jpg`` a line.

    Args:
        paths: The list of each bias value.
        class_names: K names.

    Returns:
        The names of every group (class, bias value), in the order of their numbers.

    Raises:
        DataError: A list is missing or no text, a name has another form or is listed twice, or a group has no image;
            all are named.
    """
    groups: dict[tuple[int, int], list[str]] = {
        (target, bias): [] for target in range(len(class_names)) for bias in range(len(paths))
    }
    problems, times = [], Counter[str]()
    for bias, path in enumerate(paths):
        try:
            lines = content(path).decode("utf-8-sig").splitlines()
        except UnicodeDecodeError as error:
            raise DataError(f"{path} is no text ({error}).") from error
        for name in filter(None, map(str.strip, lines)):
            times[name] += 1
            if match := _NAME.fullmatch(name):
                groups[class_names.index(match[1]), bias].append(name)
            else:
                problems.append(f"{name} in {path.name} (not named cat.<number>.jpg or dog.<number>.jpg)")
    problems += [f"{name} (listed {number} times)" for name, number in times.items() if number > 1]
    problems += [
        f"no {class_names[target]} in {paths[bias].name}" for (target, bias), names in groups.items() if not names
    ]
    if problems:
        raise DataError(f"The lists in {paths[0].parent} are damaged: {name_offenders(problems)}.")
    return {group: sorted(names, key=_number) for group, names in groups.items()}


def _number(name: str) -> int:
    return int(name.split(".")[1])


# Images of each group (class, bias) of the twin's lists.
_TWIN = {(0, 0): 40, (0, 1): 24, (1, 0): 24, (1, 1): 40}
