"""Images that a table lists by name."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from ncbench import DataError, name_offenders


def leads_out(name: str) -> bool:
    """Return whether a name in a table is empty, absolute or climbs out of its folder."""
    return not name or name.startswith("/") or ".." in PurePosixPath(name).parts or "\\" in name or ":" in name


def listed_images(folder: Path, names: Sequence[str]) -> list[Path]:
    """Return the paths of images that a table lists, all of which are there.

    Args:
        folder: The folder that the names are relative to.
        names: Relative names, none of which leads out.

    Raises:
        DataError: Images are missing; they are named.
    """
    found = on_disk(folder, names)
    if missing := [str(path) for path, is_there in found if not is_there]:
        raise DataError(
            f"{len(missing)} of {len(names)} images are missing: {name_offenders(missing)}. Get them, or take "
            "them out of the list."
        )
    return [path for path, _ in found]


def on_disk(folder: Path, names: Sequence[str]) -> list[tuple[Path, bool]]:
    """Return where images are that a table lists, and whether they are there.

    A name that is written on the disk in another of Unicode's normal forms, as by macOS, is found there.

    Args:
        folder: The folder that the names are relative to.
        names: Relative names, none of which leads out.
    """
    # Listing each folder once takes a second for CelebA's 200,000 images, asking for each image a multiple of it.
    places: dict[str, tuple[Path, Mapping[str, str]]] = {"": (folder, _names_in(folder))}

    def place(parent: str) -> tuple[Path, Mapping[str, str]]:
        if parent not in places:
            above, _, last = parent.rpartition("/")
            where, here = place(above)
            inside = where / (_find(here, last) or last)
            places[parent] = inside, _names_in(inside)
        return places[parent]

    paths = []
    for name in names:
        parent, _, last = name.rpartition("/")
        where, here = place(parent)
        found = _find(here, last)
        paths.append((where / (found or last), found is not None))
    return paths


def _names_in(folder: Path) -> Mapping[str, str]:
    """The names in a folder, by themselves and by their composed form."""
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries]
    except (FileNotFoundError, NotADirectoryError):
        return {}
    return {unicodedata.normalize("NFC", name): name for name in names} | {name: name for name in names}


def _find(here: Mapping[str, str], name: str) -> str | None:
    return here.get(name) or here.get(unicodedata.normalize("NFC", name))
