"""Spawrious: generated dogs at generated places (Lynch, Dovonon, Kaddour & Silva, 2023)."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field

from ncbench_datasets.layouts.group_folders import TWIN_GROUNDS, GroupFolder, GroupFolders, write_group
from ncbench_datasets.layouts.photographs import PhotographParameters

_DOGS = ("bulldog", "corgi", "dachshund", "labrador")
_PLACES = ("desert", "jungle", "dirt", "mountain", "snow", "beach")
_ORDER = ("bulldog", "dachshund", "labrador", "corgi")  # of the places below
# Of each protocol: the places of training and of the test, and that of one to one's remaining training images.
_PROTOCOLS = {
    "o2o_easy": ("desert jungle dirt snow", "dirt snow desert jungle", "beach"),
    "o2o_medium": ("mountain beach dirt jungle", "jungle dirt beach snow", "desert"),
    "o2o_hard": ("jungle mountain snow desert", "mountain snow desert jungle", "beach"),
    "m2m_easy": ("desert mountain dirt jungle", "dirt jungle mountain desert", ""),
    "m2m_medium": ("beach snow mountain desert", "desert mountain beach snow", ""),
    "m2m_hard": ("dirt jungle snow beach", "snow beach dirt jungle", ""),
}
_HALF = 3168  # images of a folder
_ALIGNED = (3072, 2756)  # of them at the dog's place in either half of one to one: 97 and 87 %


class SpawriousParameters(PhotographParameters):
    """Parameters of Spawrious."""

    protocol: Literal["o2o_easy", "o2o_medium", "o2o_hard", "m2m_easy", "m2m_medium", "m2m_hard"] = Field(
        "o2o_easy", description="one place a dog, or two dogs at two places, in training; and how hard the test's are"
    )


class Spawrious(GroupFolders):
    """Four breeds of dogs at six places; 25,344 images to train on, and as many to test.

    One to one (o2o): a breed is at its own place in nearly all training images, and all others' remaining ones are at
    one more; in the test each is at another one's place. Many to many (m2m): two breeds share two places, and swap them
    with the other two in the test.

    The sources are ``<half>/<place>/<breed>`` with the halves 0 and 1, of which m2m needs the first. Where a part of a
    folder is read, it is the first images by name; the published code takes them as the disk lists them.
    """

    Parameters = SpawriousParameters
    folder = "spawrious224"
    has_val = False
    class_names = _DOGS
    bias_names = _PLACES

    @property
    def aligned_bias(self) -> Sequence[int] | None:
        """One to one, the place of each breed."""
        train, *_ = _places(self.params.protocol)
        return [train[name][0] for name in _DOGS] if self.params.protocol.startswith("o2o") else None

    def folders(self) -> Mapping[str, Sequence[GroupFolder]]:
        """Return the folders of the protocol; of its training images, one to one's remaining ones come last."""
        train, test, filler = _places(self.params.protocol)
        groups: dict[str, list[GroupFolder]] = {"train": [], "test": []}
        for split, places in (("train", train), ("test", test)):
            for target, name in enumerate(_DOGS):
                for half, place in enumerate(places[name]):
                    first = _ALIGNED[half] if split == "train" and filler is not None else None
                    groups[split].append(_folder(0 if filler is None else half, place, target, first))
        if filler is not None:
            for half, target in itertools.product(range(2), range(4)):
                groups["train"].append(_folder(half, filler, target, _HALF - _ALIGNED[half]))
        return groups

    @classmethod
    def synthesize(cls, root: Path) -> None:
        """Write both halves with all places, fewer images at the beach."""
        generator = np.random.default_rng(0)
        for half, bias, target in itertools.product(range(2), range(len(_PLACES)), range(len(_DOGS))):
            folder = root / cls.folder / _folder(half, bias, target).path
            number = 1 if _PLACES[bias] == "beach" else 8
            write_group(folder, number, TWIN_GROUNDS[bias], target, len(_DOGS), generator)


def _folder(half: int, bias: int, target: int, first: int | None = None) -> GroupFolder:
    return GroupFolder(f"{half}/{_PLACES[bias]}/{_DOGS[target]}", target, bias, first)


def _places(protocol: str) -> tuple[Mapping[str, Sequence[int]], Mapping[str, Sequence[int]], int | None]:
    """Return each breed's places, for either half, in training and in the test, and the place of remaining images."""
    *both, filler = _PROTOCOLS[protocol]
    train, test = ([_PLACES.index(place) for place in places.split()] for places in both)
    partner = (0, 1, 2, 3) if filler else (1, 0, 3, 2)
    found = [{name: (row[i], row[partner[i]]) for i, name in enumerate(_ORDER)} for row in (train, test)]
    return found[0], found[1], _PLACES.index(filler) if filler else None
