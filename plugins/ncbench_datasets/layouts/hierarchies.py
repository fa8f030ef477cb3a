"""Class hierarchies that come with a dataset, matched to its classes by name."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import TYPE_CHECKING

from ncbench import DataError, name_offenders

if TYPE_CHECKING:
    from ncbench.geometry import Hierarchy


def load_hierarchy(source: Path | Traversable, classes: Sequence[str]) -> Hierarchy:
    """Read a hierarchy in the layout of ``Hierarchy.from_json``, its leaves in the dataset's class order.

    Args:
        source: The JSON file, or a package's resource.
        classes: The dataset's K class names, in order.

    Raises:
        DataError: The file cannot be read, is no hierarchy, or its leaves are not the classes; each one that is
            missing or too much is named.
    """
    from ncbench.geometry import Hierarchy  # here, since it imports torch

    try:
        tree = Hierarchy.from_json(json.loads(source.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise DataError(f"The hierarchy {source} cannot be used: {error}.") from error
    leaves, known = set(tree.classes), set(classes)
    problems = [f"class {name!r} is not in it" for name in classes if name not in leaves]
    problems += [f"its leaf {name!r} is no class" for name in tree.classes if name not in known]
    if problems:
        raise DataError(f"The hierarchy {source} does not fit the dataset: {name_offenders(problems)}.")
    if tree.classes == tuple(classes):
        return tree
    return Hierarchy.from_parents(tree.parents, tree.node_names, tree.heights, classes=classes, name=tree.name)
