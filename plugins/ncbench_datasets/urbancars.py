"""UrbanCars: cars with two shortcuts at once (Li et al., A Whac-A-Mole Dilemma, CVPR 2023)."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

from ncbench_datasets.layouts.group_folders import GroupFolder, GroupFolders

_PLACES = ("urban", "country")
_SHARES = {"train": "0.95", "val": "0.5", "test": "0.5"}


class UrbanCars(GroupFolders):
    """Cars of town and country, before a background and beside an object of either; 4,000 of a class to train on.

    In training, background and object are each of the car's kind for 95 %, independently of each other. Both are
    attributes, ``bg`` and ``coobj``, and the three gaps of the paper are recorded: ``bg_gap``, ``coobj_gap`` and
    ``bg_coobj_gap`` (see :func:`ncbench.contracts.groups.shortcut_gaps`).

    The sources are what the authors' generator writes: ``bg-0.95_co_occur_obj-0.95/train`` and
    ``bg-0.5_co_occur_obj-0.5/{val,test}``, each with the folders ``obj-<car>_bg-<background>_co_occur_obj-<object>``;
    masks beside the images are passed over.
    """

    folder = "urbancars"
    has_val = True
    class_names = _PLACES
    attributes = {"bg": _PLACES, "coobj": _PLACES}  # noqa: RUF012 - the base class declares it
    passed_over = ("_mask.png",)

    def folders(self) -> Mapping[str, Sequence[GroupFolder]]:
        """Return a folder for each car, background and object."""
        return {
            split: [
                GroupFolder(f"bg-{share}_co_occur_obj-{share}/{split}/{_named(*values)}", values[0], values[1:])
                for values in itertools.product(range(2), repeat=3)
            ]
            for split, share in _SHARES.items()
        }


def _named(car: int, background: int, thing: int) -> str:
    return f"obj-{_PLACES[car]}_bg-{_PLACES[background]}_co_occur_obj-{_PLACES[thing]}"
