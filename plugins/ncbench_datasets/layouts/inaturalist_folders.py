"""The layout of iNaturalist 2021: a folder a species, named by its number and its place in the tree of life."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

from ncbench import DataError, name_offenders
from ncbench_datasets.layouts.class_folders import check_classes, folder_split, list_classes
from ncbench_datasets.layouts.taxonomy import RANKS, Release, Taxonomy

_DIGITS = 5
_PIECES = 1 + len(RANKS) + 1  # number, kingdom to genus, specific epithet


def read_folders(folders: Mapping[str, Path]) -> Release:
    """Read a release off the names of its folders.

    Args:
        folders: By split, "train" among them; each holds ``<species>/<image>``.

    Returns:
        The release; a class's index is its folder's place in sorted order.

    Raises:
        DataError: A folder is missing or laid out otherwise, or class folders are not named as the release names them,
            or not the same in every split; all are named.
    """
    listings = {split: list_classes(folder) for split, folder in folders.items()}
    names = list(listings["train"])
    numbers, taxonomy = parse_names(names)
    check_classes({folders[split]: listing for split, listing in listings.items()}, names)
    tags = dict(zip(names, numbers, strict=True))
    return Release(
        taxonomy=taxonomy,
        splits={split: folder_split(split, listing, tags) for split, listing in listings.items()},
        files=[path for listing in listings.values() for images in listing.values() for path in images],
    )


def parse_names(names: Iterable[str]) -> tuple[list[str], Taxonomy]:
    """Read the names of class folders.

    A name is ``<number>_<kingdom>_<phylum>_<class>_<order>_<family>_<genus>_<epithet>``; an underscore after the genus
    belongs to the epithet.

    Args:
        names: Sorted.

    Returns:
        The numbers, as written, and the taxonomy.

    Raises:
        DataError: Names have other pieces, or the numbers are not 00000, 00001 and so on; all are named.
    """
    split = {name: name.split("_", _PIECES - 1) for name in names}
    if strange := [name for name, pieces in split.items() if not _is_complete(pieces)]:
        raise DataError(
            f"{len(strange)} class folders are not named <number>_<kingdom>_<phylum>_<class>_<order>_<family>_<genus>_"
            f"<epithet>: {name_offenders(strange)}."
        )
    numbers = [pieces[0] for pieces in split.values()]
    problems = [f"{number} occurs {times} times" for number, times in Counter(numbers).items() if times > 1]
    expected = [f"{index:0{_DIGITS}d}" for index in range(1 + max(map(int, numbers), default=-1))]
    problems += [f"{number} is missing" for number in sorted(set(expected) - set(numbers))]
    if problems:
        raise DataError(f"The class folders are not numbered one after the other: {name_offenders(problems)}.")
    lineages = [tuple(pieces[1:-1]) for pieces in split.values()]
    species = [f"{pieces[-2]} {pieces[-1]}" for pieces in split.values()]
    return numbers, Taxonomy(lineages, species)


def _is_complete(pieces: list[str]) -> bool:
    number = pieces[0]
    return len(pieces) == _PIECES and all(pieces) and number.isdecimal() and len(number) == _DIGITS
