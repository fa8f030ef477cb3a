"""Images whose names end with their class and their bias value, ``<id>_<class>_<bias>.png``, in any folders."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ncbench import DataError, Split, name_offenders
from ncbench_datasets.layouts.folders import files_below

_NAME = re.compile(r"(?P<id>.+)_(?P<target>\d+)_(?P<bias>\d+)\.(?:png|jpe?g)", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True)
class SuffixedImage:
    """An image and what its name says of it."""

    path: Path
    target: int
    bias: int


def read_suffixed(
    folders: Sequence[Path],
    num_classes: int,
    num_bias: int,
    fault: Callable[[SuffixedImage], str] = lambda image: "",
) -> list[SuffixedImage]:
    """Read the names of the images below some folders.

    An image in a folder named by a number must be of the class of that number.

    Args:
        folders: Where they are, as for :func:`files_below`.
        num_classes: K.
        num_bias: B.
        fault: Says what else is wrong with an image, or "".

    Raises:
        DataError: Names of another form, or labels that are out of range or contradict their folder; all are named.
    """
    images, problems = [], []
    for path in files_below(folders):
        match = _NAME.fullmatch(path.name)
        if match is None:
            problems.append(f"{path} (its name does not end with _<class>_<bias>.png)")
            continue
        image = SuffixedImage(path, int(match["target"]), int(match["bias"]))
        if image.target >= num_classes or image.bias >= num_bias:
            problems.append(f"{path} (of {num_classes} classes and {num_bias} bias values)")
        elif path.parent.name.isdecimal() and int(path.parent.name) != image.target:
            problems.append(f"{path} (in the folder of another class)")
        elif reason := fault(image):
            problems.append(f"{path} ({reason})")
        images.append(image)
    if problems:
        raise DataError(f"{len(problems)} images cannot be used: {name_offenders(problems)}.")
    return images


def suffixed_split(root: Path, images: Sequence[SuffixedImage]) -> Split:
    """Return a split of these images, in their order; an id is the path below `root` without its suffix."""
    return Split(
        inputs=[image.path for image in images],
        target=np.array([image.target for image in images], dtype=np.int64),
        bias=np.array([image.bias for image in images], dtype=np.int64),
        ids=[image.path.relative_to(root).with_suffix("").as_posix() for image in images],
    )


def conflict_folder(conflict: float) -> str:
    """Return the name of the folder for a share of conflicting images, such as ``0.5pct`` for 0.005."""
    return f"{100 * conflict:g}pct"
