"""CIFAR-100 with its five-level class tree."""

from __future__ import annotations

import functools
import importlib.resources
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ncbench import DataError
from ncbench_datasets.layouts.cifar_files import Cifar
from ncbench_datasets.layouts.hierarchies import load_hierarchy

if TYPE_CHECKING:
    from ncbench.geometry import Hierarchy

# In the order of the fine labels, which is alphabetical.
_NAMES = """
    apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can
    castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin
    elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster
    man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck
    pine_tree plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk
    skyscraper snail snake spider squirrel streetcar sunflower sweet_pepper table tank telephone television tiger
    tractor train trout tulip turtle wardrobe whale willow_tree wolf woman worm
"""
CLASSES = tuple(_NAMES.split())
TREE = "cifar100_hierarchy.json"
_SUPERCLASS = "L4-"  # the nodes right above the leaves are the 20 published superclasses, numbered as coarse labels


class Cifar100(Cifar):
    """100 classes of 600 images (Krizhevsky 2009), with the class tree of HAFrame's published code (Liang & Davis,
    Inducing Neural Collapse to a Fixed Hierarchy-Aware Frame for Reducing Mistake Severity, ICCV 2023).

    The tree has height 5; the level above the classes are the 20 superclasses that CIFAR-100 comes with as coarse
    labels. No bias attribute is known.
    """

    folder = "cifar100"
    class_names = CLASSES
    hub_folder = "cifar100"
    binary_folder = "cifar-100-binary"
    binary_files = {"train": ["train.bin"], "test": ["test.bin"]}  # noqa: RUF012 - the base declares it a class variable
    pickle_folder = "cifar-100-python"
    archive = "https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz"
    labels = ("coarse_label", "fine_label")

    def __init__(self, params: Any, root: Path | None) -> None:
        super().__init__(params, root)
        self.hierarchy = class_tree()

    def check_labels(self, path: Path, labels: Mapping[str, np.ndarray]) -> None:
        """Check that every image's coarse label is its class's superclass.

        Raises:
            DataError: It is not; the first rows are named.
        """
        coarse, fine = labels["coarse_label"], labels["fine_label"]
        inside = (fine >= 0) & (fine < len(CLASSES))
        expected = superclasses()[np.where(inside, fine, 0)]
        # What lies outside is reported with every other label that does, once all files are read.
        wrong = np.flatnonzero(inside & (coarse != expected))
        if wrong.size:
            named = "; ".join(f"row {row}: {CLASSES[fine[row]]} in superclass {coarse[row]}" for row in wrong[:10])
            more = f"; and {wrong.size - 10} more" if wrong.size > 10 else ""
            raise DataError(f"{path} holds {wrong.size} coarse labels that are not their class's: {named}{more}.")

    @classmethod
    def synthesize(cls, root: Path) -> None:
        """Write both parquet files: a class is a direction of stripes in a colour."""
        labels = {"fine_label": np.arange(len(CLASSES)), "coarse_label": superclasses()}
        cls.write_twin(root, labels, {"train": 6, "test": 2})


@functools.cache
def class_tree() -> Hierarchy:
    """Return the class tree.

    Raises:
        DataError: The file in the package is damaged.
    """
    return load_hierarchy(importlib.resources.files("ncbench_datasets").joinpath(TREE), CLASSES)


@functools.cache
def superclasses() -> np.ndarray:
    """Return the published superclass 0..19 of each class: (100,) int64."""
    tree = class_tree()
    names = [tree.node_names[tree.parents[index]] for index in range(len(CLASSES))]
    return np.array([int(name.removeprefix(_SUPERCLASS)) for name in names], dtype=np.int64)
