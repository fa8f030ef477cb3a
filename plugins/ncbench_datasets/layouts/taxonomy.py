"""The tree of life as iNaturalist's releases have it: six ranks above every species."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from ncbench import DataError, Split, name_offenders

if TYPE_CHECKING:
    from ncbench.geometry import Hierarchy

Rank = Literal["kingdom", "phylum", "class", "order", "family", "genus"]
RANKS: tuple[Rank, ...] = ("kingdom", "phylum", "class", "order", "family", "genus")

Lineage = tuple[str, ...]
"""The six names above a species, from kingdom to genus."""


@dataclass(frozen=True, eq=False)
class Taxonomy:
    """K species and what is above them.

    A group is told by the whole path down to it, since one name may stand for groups of different kingdoms.

    Args:
        lineages: K lineages, in class order.
        species: K names.

    Raises:
        DataError: Species have one name and one lineage; they are named.
    """

    lineages: Sequence[Lineage]
    species: Sequence[str]

    def __post_init__(self) -> None:
        times = Counter(self._paths)
        if twice := [path[-1] for path, number in times.items() if number > 1]:
            raise DataError(f"{len(twice)} species occur more than once: {name_offenders(twice)}.")

    @property
    def class_names(self) -> tuple[str, ...]:
        """K names, each unique: the species', or the whole path where several have the same."""
        return _unambiguous(self._paths)

    def hierarchy(self, name: str) -> Hierarchy:
        """Return the class hierarchy, of height 7."""
        from ncbench.geometry import Hierarchy  # here, since it imports torch

        rows = [(label, *reversed(lineage)) for label, lineage in zip(self.class_names, self.lineages, strict=True)]
        return Hierarchy.from_categories(rows, name=name, root="life")

    def groups(self, rank: Rank) -> tuple[np.ndarray, tuple[str, ...]]:
        """Return the group of every species at a rank.

        Returns:
            (K,) int64 groups 0..B-1, in the order of their paths; and B names, each unique.
        """
        depth = RANKS.index(rank) + 1
        above = [lineage[:depth] for lineage in self.lineages]
        paths = sorted(set(above))
        place = {path: index for index, path in enumerate(paths)}
        return np.array([place[path] for path in above], dtype=np.int64), _unambiguous(paths)

    @property
    def _paths(self) -> list[tuple[str, ...]]:
        return [(*lineage, name) for lineage, name in zip(self.lineages, self.species, strict=True)]


@dataclass(frozen=True, eq=False)
class Release:
    """A release on disk, in whichever layout.

    Args:
        taxonomy: Of its classes.
        splits: By name, without a bias attribute.
        files: Every source file.
    """

    taxonomy: Taxonomy
    splits: Mapping[str, Split]
    files: Sequence[Path]


def _unambiguous(paths: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    times = Counter(path[-1] for path in paths)
    return tuple(path[-1] if times[path[-1]] == 1 else "/".join(path) for path in paths)
