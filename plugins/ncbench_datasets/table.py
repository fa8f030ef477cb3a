"""Images of the user's own, listed in a table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from pydantic import Field

from ncbench import DataError, labels_of, name_offenders, read_table
from ncbench_datasets.layouts.listed_images import leads_out, listed_images
from ncbench_datasets.layouts.own import Labelled, OwnData, OwnParameters
from ncbench_datasets.layouts.photographs import PhotographParameters, Photographs
from ncbench_datasets.made.twin_pictures import striped_on

DEFAULT_TABLE = "table.csv"


class TableParameters(PhotographParameters, OwnParameters):
    """Parameters of a table of images."""

    image: str = Field("image", description="column of the images' files, relative to the table's folder")
    target: str = Field("target", description="column of the classes, numbers or names")
    bias: str = Field("", description="column of the bias attribute, several as place+gender; empty if it is unknown")
    split: str = Field("split", description="column of train, val and test, or 0, 1 and 2, if there is one")


class Table(OwnData, Photographs):
    """Images that a table lists, with their classes and bias attributes: CSV, TSV, Parquet or JSON lines.

    ``table:path=meta.csv,image=file,target=y,bias=place``. Without a path, ``table/table.csv`` below a data root is
    read.
    """

    Parameters = TableParameters
    folder = "table"

    def source_files(self) -> Sequence[Path]:
        """Return the table and the images that it lists.

        Raises:
            DataError: The table is damaged, or images are missing; all are named.
        """
        return [self._table, *self.labelled.inputs]

    @cached_property
    def labelled(self) -> Labelled:
        """The rows of the table.

        Raises:
            DataError: A column or a value is missing, an image is listed twice, is missing or lies elsewhere.
        """
        path, params = self._table, self.params
        table = read_table(path)
        names = [str(name) for name in labels_of(path, table, params.image)]
        if outside := [name for name in names if leads_out(name)]:
            raise DataError(
                f"{path} lists images that are not in its folder: {name_offenders(outside)}. Put them below it, or the "
                "table above them, and write their names relative to it."
            )
        if twice := [name for name, times in Counter(names).items() if times > 1]:
            raise DataError(f"{path} lists images twice: {name_offenders(twice)}.")
        split = labels_of(path, table, params.split) if params.split in table.column_names else None
        if split is None and params.split != "split":
            raise DataError(f"{path} has no column {params.split!r}. Leave out split=, and splits are made.")
        return Labelled(
            inputs=listed_images(self.source, names),
            ids=names,
            target=labels_of(path, table, params.target),
            attributes={name: labels_of(path, table, name) for name in params.bias.split("+") if name},
            split=split,
        )

    @property
    def _table(self) -> Path:
        return self.source / (Path(self.params.path).name or DEFAULT_TABLE)

    @classmethod
    def synthesize(cls, root: Path) -> None:
        """Write a table and its images: a class is a direction of stripes."""
        from PIL import Image

        generator, rows = np.random.default_rng(0), []
        folder = root / cls.folder
        (folder / "images").mkdir(parents=True)
        for split, number in (("train", 40), ("val", 12), ("test", 24)):
            for index in range(number):
                target, place = index % 2, ("land", "water")[(index + (index % 7 == 0)) % 2]
                name = f"images/{split}-{index:03d}.png"
                ground = (110, 120, 50) if place == "land" else (50, 110, 180)
                Image.fromarray(striped_on(ground, target, 2, generator, (64, 64))).save(folder / name)
                rows.append(f"{name},{('stripes', 'bars')[target]},{place},{split}")
        (folder / DEFAULT_TABLE).write_text("\n".join(["image,target,place,split", *rows, ""]), encoding="utf-8")
