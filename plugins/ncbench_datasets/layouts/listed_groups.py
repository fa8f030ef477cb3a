"""Photographs that a table lists with class, bias value and the number of their split."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from ncbench import DataError, Split, name_offenders
from ncbench_datasets.layouts.folders import text
from ncbench_datasets.layouts.listed_images import leads_out, listed_images, on_disk
from ncbench_datasets.layouts.photographs import Photographs

SPLITS = ("train", "val", "test")  # in the order of the table's numbers


@dataclass(frozen=True)
class ListedImage:
    """A row of the table."""

    name: str
    target: int
    bias: int
    split: int


class ListedGroups(Photographs):
    """Base of datasets that come as a CSV file beside the images it lists.

    Attributes:
        table: Name of the file.
        columns: Those of the image's name, the class and the bias value; the split's is called `split`.
    """

    has_val = True
    table: ClassVar[str]
    columns: ClassVar[tuple[str, str, str]]

    def source_files(self) -> Sequence[Path]:
        """Return the table and the images it lists.

        Raises:
            DataError: Files are missing, or the table is damaged; all offenders are named.
        """
        return [self.source / self.table, *listed_images(self.source, [image.name for image in self.listed()])]

    def read(self) -> Mapping[str, Split]:
        """Read the table.

        Raises:
            DataError: It is damaged; all offenders are named.
        """
        listed = self.listed()
        return {
            name: self._split([image for image in listed if image.split == code]) for code, name in enumerate(SPLITS)
        }

    def _split(self, images: Sequence[ListedImage]) -> Split:
        names = [image.name for image in images]
        return Split(
            inputs=[path for path, _ in on_disk(self.source, names)],
            target=np.array([image.target for image in images], dtype=np.int64),
            bias=np.array([image.bias for image in images], dtype=np.int64),
            ids=names,
        )

    def name_below(self, name: str) -> str:
        """Return where an image lies below the dataset's folder, given what the table calls it."""
        return name

    def listed(self) -> list[ListedImage]:
        """Return the rows of the table.

        Raises:
            DataError: It is no such table, or rows are incomplete, hold a number that has no meaning, name a file
                outside the folder, or one that another row names; all are named.
        """
        path = self.source / self.table
        image, target, bias = self.columns
        limits = {target: len(self.class_names), "split": len(SPLITS), bias: len(self.bias_names)}
        rows: list[ListedImage] = []
        problems: list[str] = []
        seen: dict[str, int] = {}
        try:
            reader = csv.DictReader(io.StringIO(text(path), newline=""))
            if missing := [name for name in (image, *limits) if name not in (reader.fieldnames or ())]:
                raise DataError(f"{path} has no column {', '.join(missing)}, but {', '.join(reader.fieldnames or ())}.")
            for entry in reader:
                name, line = self.name_below(entry[image] or ""), reader.line_num
                codes = {key: entry[key] and entry[key].strip() for key in limits}
                wrong = [
                    f"{key} {'is missing' if code is None else f'is {code!r}'}"
                    for key, code in codes.items()
                    if code not in {str(number) for number in range(limits[key])}
                ]
                if leads_out(name):
                    wrong.append(f"{image} is {name!r}")
                elif name in seen:
                    wrong.append(f"the image is that of line {seen[name]}")
                if wrong:
                    problems.append(f"line {line}: {', '.join(wrong)}")
                    continue
                seen[name] = line
                rows.append(ListedImage(name, *(int(codes[key]) for key in (target, bias, "split"))))
        except csv.Error as error:
            raise DataError(f"{path} cannot be read ({error}).") from error
        if problems:
            raise DataError(f"{path} is damaged in {len(problems)} rows: {name_offenders(problems)}.")
        return rows
