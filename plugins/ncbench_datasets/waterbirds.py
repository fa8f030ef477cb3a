"""Waterbirds (Sagawa, Koh, Hashimoto & Liang, Distributionally Robust Neural Networks for Group Shifts, ICLR 2020)."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ncbench import DataError, Split
from ncbench_datasets.layouts.hub_files import find_shards, read_images
from ncbench_datasets.layouts.listed_groups import SPLITS, ListedGroups
from ncbench_datasets.made.twin_pictures import striped_on

HUB_SPLITS = {"train": "train", "val": "validation", "test": "test"}


class Waterbirds(ListedGroups):
    """Photographs of birds (CUB) pasted onto land or water (Places); in training 95 % of each kind at its usual place.

    The class y is 1 for waterbirds, the bias attribute 1 for water. As in the published experiments an image's centre
    is kept: the shorter side is resized to 8/7 of `size` (256 for 224), the middle cropped out. (The published code
    resizes both sides to 256, which squeezes the image.)

    The sources are the release, ``metadata.csv`` with the images it lists, or the hub's parquet files
    ``{train,validation,test}-*.parquet`` in the same folder or in ``data`` below it, with the columns image, label,
    place.
    """

    folder = "waterbird_complete95_forest2water2"
    table = "metadata.csv"
    columns = ("img_filename", "y", "place")
    class_names = ("landbird", "waterbird")
    bias_names = ("land", "water")

    def source_files(self) -> Sequence[Path]:
        """Return ``metadata.csv`` and the images it lists, or the hub's files.

        Raises:
            DataError: There is neither, or files are missing, or the table is damaged; all offenders are named.
        """
        if (self.source / self.table).is_file():
            return super().source_files()
        return [path for paths in self._shards().values() for path in paths]

    def read(self) -> Mapping[str, Split]:
        """Read the table or the hub's files.

        Raises:
            DataError: A file is damaged; all offenders are named.
        """
        if (self.source / self.table).is_file():
            return super().read()
        return {split: _packed(split, paths) for split, paths in self._shards().items()}

    def _shards(self) -> Mapping[str, Sequence[Path]]:
        shards = find_shards([self.source, self.source / "data"], list(HUB_SPLITS.values()))
        if not shards:
            raise DataError(f"{self.source} holds neither metadata.csv nor the hub's parquet files.")
        return {split: shards[name] for split, name in HUB_SPLITS.items()}

    @classmethod
    def synthesize(cls, root: Path) -> None:
        """Write the table and its images: a class is a direction of stripes, a place the colour behind them."""
        from PIL import Image

        generator = np.random.default_rng(0)
        folder = root / cls.folder
        rows: list[tuple[object, ...]] = []
        for split, groups in _TWIN.items():
            for (y, place), number in groups.items():
                for _ in range(number):
                    bird, scene = _BIRDS[y][len(rows) % 2], _SCENES[place][len(rows) % 2]
                    name = f"{bird}/{bird[4:]}_{len(rows) + 1:04d}_{len(rows) + 1}.jpg"
                    (folder / bird).mkdir(parents=True, exist_ok=True)
                    picture = striped_on(_GROUNDS[place], y, len(cls.class_names), generator, (64, 80), contrast=15)
                    Image.fromarray(picture).save(folder / name, quality=90)
                    rows.append(
                        (len(rows) + 1, name, y, SPLITS.index(split), place, f"/{scene[0]}/{scene}/{len(rows):08d}.jpg")
                    )
        with (folder / "metadata.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(("img_id", "img_filename", "y", "split", "place", "place_filename"))
            writer.writerows(rows)


def _packed(split: str, paths: Sequence[Path]) -> Split:
    images, labels = read_images(paths, "image", ("label", "place"))
    return Split(images, labels["label"], labels["place"], [f"{split}-{row:05d}" for row in range(len(images))])


# Images of each group (y, place) of the twin, by split.
_TWIN = {
    "train": {(0, 0): 26, (0, 1): 2, (1, 0): 2, (1, 1): 18},
    "val": {(0, 0): 9, (0, 1): 9, (1, 0): 7, (1, 1): 7},
    "test": {(0, 0): 14, (0, 1): 14, (1, 0): 10, (1, 1): 10},
}
_BIRDS = (
    ("020.Yellow_breasted_Chat", "047.American_Goldfinch"),
    ("001.Black_footed_Albatross", "059.California_Gull"),
)
_SCENES = (("bamboo_forest", "forest"), ("ocean", "lake"))
_GROUNDS = ((110, 120, 50), (50, 110, 180))
