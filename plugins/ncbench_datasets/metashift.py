"""MetaShift's cats and dogs, in and out of doors (Liang & Zou, ICLR 2022), with SubpopBench's splits."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ncbench_datasets.layouts.group_folders import TWIN_GROUNDS, write_group
from ncbench_datasets.layouts.listed_groups import SPLITS, ListedGroups

TOP = "MetaShift-Cat-Dog-indoor-outdoor"


class MetaShift(ListedGroups):
    """3,499 photographs of cats, usually in, and dogs, usually out of doors.

    The folders have the usual ones in ``train`` and the others in ``test``; SubpopBench (Yang, Zhang, Katabi &
    Ghassemi, ICML 2023) draws its splits from both, and its table says how. It may name images by their whole path.

    The sources are ``metadata_metashift.csv`` and the images it lists, in ``MetaShift-Cat-Dog-indoor-outdoor``.
    """

    folder = "metashift"
    table = "metadata_metashift.csv"
    columns = ("filename", "y", "a")
    class_names = ("dog", "cat")
    bias_names = ("outdoor", "indoor")

    def name_below(self, name: str) -> str:
        """Return the path from the images' folder on."""
        above, found, below = name.rpartition(f"{TOP}/")
        return found + below if above.endswith("/") else name

    @classmethod
    def synthesize(cls, root: Path) -> None:
        """Write the table and its images: a class is a direction of stripes, a place the colour behind them."""
        generator = np.random.default_rng(0)
        rows = ["filename,y,a,split"]
        for target, animal in enumerate(cls.class_names):
            for bias, place in enumerate(cls.bias_names):
                counts = (24 if target == bias else 4, 8, 12)  # of the splits
                folder = f"{TOP}/{'train' if target == bias else 'test'}/{animal}/{animal}({place})"
                write_group(
                    root / cls.folder / folder, sum(counts), TWIN_GROUNDS[bias], target, len(cls.class_names), generator
                )
                codes = np.repeat(range(len(SPLITS)), counts).tolist()
                rows += [f"{folder}/{index:03d}.jpg,{target},{bias},{code}" for index, code in enumerate(codes)]
        (root / cls.folder / cls.table).write_text("\n".join([*rows, ""]), encoding="utf-8")
