"""A dataset's folder in another place or under another name than it is looked for: unpacked one level too deep, say."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path

_MOST = 50  # folders that are tried: of a data root full of others, more would take long


def where_it_lies(
    names: Sequence[str], folder: str, roots: Sequence[Path], is_whole: Callable[[Path], bool]
) -> str | None:
    """Return one sentence that says where a dataset lies instead, and what to do; None if it is not found.

    Args:
        names: What its folder might be called: its own name, the dataset's.
        folder: Its name below a data root.
        roots: The data roots where it was looked for.
        is_whole: Whether a folder holds the dataset's whole layout.
    """
    for root in map(Path.absolute, roots):  # of "." neither a name nor a parent could be told
        for place in islice(_candidates(root, folder, names), _MOST):
            if place != root / folder and is_whole(place):
                way = f"use --data-root {place.parent}" if place.name == folder else _move(place, root / folder)
                return f"{place} has the layout that is looked for: if that is the dataset, {way}."
    return None


def _move(place: Path, wanted: Path) -> str:
    if place in wanted.parents:  # the data root that was named is the dataset's own folder
        link = place.parent / wanted.name
        return f"rename it {link}, or link it (ln -s {place} {link}), and use --data-root {place.parent}"
    if wanted in place.parents:
        return f"move what is in it to {wanted}"
    return f"move it to {wanted}"


def _candidates(root: Path, folder: str, names: Sequence[str]) -> Iterator[Path]:
    """The folders that may be meant: what is one level too deep, the root itself, and names that begin alike."""
    yield from _folders(root / folder)
    yield root
    wanted = [_words(name) for name in (folder, *names)]
    for place in _folders(root):
        words = _words(place.name)
        if any(words[: len(other)] == other[: len(words)] for other in wanted):
            yield place
            yield from _folders(place)


def _folders(place: Path) -> Iterator[Path]:
    with contextlib.suppress(OSError):
        yield from sorted(path for path in place.iterdir() if path.is_dir() and not path.name.startswith("."))


def _words(name: str) -> list[str]:
    """A name's words and numbers: what it begins with, another version of it, or another case, but not cifar100."""
    return re.findall(r"[a-z]+|\d+", name.lower())
