"""SpuCoAnimals: birds and dogs of ImageNet at their usual places (Joshi et al., 2023)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ncbench_datasets.layouts.group_folders import GroupFolder, GroupFolders

_HALVES = {  # folder -> folders of its two classes, folders of its two places
    "spuco_birds": (("landbirds", "waterbirds"), ("land", "water")),
    "spuco_dogs": (("small_dogs", "big_dogs"), ("indoor", "outdoor")),
}


class SpuCoAnimals(GroupFolders):
    """Landbirds and waterbirds on land and water, small and big dogs in and out of doors; 10,500 of each to train on.

    The four places are the values of one attribute. Birds are never in or out of doors, nor dogs on land or water, so
    eight groups have images and eight have none.

    The sources are both archives, unpacked: ``spuco_birds/<split>/<class>/<place>`` and ``spuco_dogs/...``.
    """

    folder = "spuco_animals"
    has_val = True
    class_names = ("landbird", "waterbird", "small dog", "big dog")
    bias_names = ("land", "water", "indoor", "outdoor")

    def folders(self) -> Mapping[str, Sequence[GroupFolder]]:
        """Return a folder for each class and place of the birds, then of the dogs."""
        return {
            split: [
                GroupFolder(f"{half}/{split}/{animal}/{place}", 2 * number + target, 2 * number + bias)
                for number, (half, (animals, places)) in enumerate(_HALVES.items())
                for target, animal in enumerate(animals)
                for bias, place in enumerate(places)
            ]
            for split in ("train", "val", "test")
        }
