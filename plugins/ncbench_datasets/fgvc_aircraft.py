"""FGVC-Aircraft: aircraft told apart by variant, with family and manufacturer above it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ncbench import DataError, Split, name_offenders
from ncbench_datasets.layouts.folders import text
from ncbench_datasets.layouts.listed_images import listed_images
from ncbench_datasets.layouts.photographs import Photographs
from ncbench_datasets.made.twin_pictures import striped

if TYPE_CHECKING:
    from ncbench.geometry import Hierarchy

SPLITS = ("train", "val", "test")
LEVELS = ("variant", "family", "manufacturer")
BANNER = 20  # rows at the bottom of every image, with the photographer's name
_ARCHIVE_FOLDER = "fgvc-aircraft-2013b"
_TWIN = {"train": 12, "val": 4, "test": 6}  # images of each class

Labels = Mapping[str, tuple[str, ...]]
"""Variant, family and manufacturer of each image, by the image's number."""


class FgvcAircraft(Photographs):
    """10,000 photographs of 100 aircraft variants, a third each to train on, to validate and to test (Maji et al.,
    Fine-Grained Visual Classification of Aircraft, arXiv:1306.5151, 2013). No bias attribute is known.

    The hierarchy, of height 3, is manufacturer, family and variant, read off the annotations. The lowest 20 rows of
    every photograph are a banner that names its owner, and are cut off first, as the release asks for.

    The sources are ``data/images/*.jpg`` and ``data/images_{variant,family,manufacturer}_{train,val,test}.txt``, in the
    dataset's folder or in the archive's, ``fgvc-aircraft-2013b``, below it.
    """

    folder = "fgvc_aircraft"
    has_val = True
    cut_bottom = BANNER

    @cached_property
    def class_names(self) -> Sequence[str]:  # type: ignore[override]  # they are read off the annotations
        """The variants, sorted."""
        return tuple(self._above)

    @cached_property
    def hierarchy(self) -> Hierarchy:  # type: ignore[override]
        """The tree of manufacturers, families and variants."""
        from ncbench.geometry import Hierarchy  # here, since it imports torch

        rows = [(variant, *above) for variant, above in self._above.items()]
        return Hierarchy.from_categories(rows, name="fgvc_aircraft")

    def source_files(self) -> Sequence[Path]:
        """Return the annotations and every image they list.

        Raises:
            DataError: A file is missing, or annotations are damaged or contradict each other.
        """
        tables = [self._table(level, split) for level in LEVELS for split in SPLITS]
        return [*tables, *(path for split in SPLITS for path in self._images(split))]

    def read(self) -> Mapping[str, Split]:
        """Return the three splits; ids are ``<split>/<number of the image>``.

        Raises:
            DataError: As :meth:`source_files`.
        """
        place = {variant: index for index, variant in enumerate(self.class_names)}
        return {
            split: Split(
                inputs=self._images(split),
                target=np.array([place[variant] for variant, *_ in labels.values()], dtype=np.int64),
                bias=None,
                ids=[f"{split}/{image}" for image in labels],
            )
            for split, labels in self._labels.items()
        }

    @property
    def _data(self) -> Path:
        plain = self.source / "data"
        packed = self.source / _ARCHIVE_FOLDER / "data"
        return packed if packed.is_dir() and not plain.is_dir() else plain

    def _table(self, level: str, split: str) -> Path:
        return self._data / f"images_{level}_{split}.txt"

    def _images(self, split: str) -> list[Path]:
        return listed_images(self._data / "images", [f"{image}.jpg" for image in self._labels[split]])

    @cached_property
    def _labels(self) -> Mapping[str, Labels]:
        """The annotations of each split."""
        labels = {split: self._read_labels(split) for split in SPLITS}
        times = Counter(image for images in labels.values() for image in images)
        if twice := [image for image, number in times.items() if number > 1]:
            raise DataError(f"{len(twice)} images of {self._data} are in several splits: {name_offenders(twice)}.")
        return labels

    def _read_labels(self, split: str) -> Labels:
        tables = {level: read_table(self._table(level, split)) for level in LEVELS}
        images = list(tables[LEVELS[0]])
        problems = []
        for level in LEVELS[1:]:
            path = self._table(level, split)
            problems += [f"{path} lacks image {image}" for image in sorted(set(images) - tables[level].keys())]
            problems += [f"{path} has image {image} besides" for image in sorted(tables[level].keys() - set(images))]
        if problems:
            raise DataError(f"The annotations do not list the same images: {name_offenders(problems)}.")
        return {image: tuple(tables[level][image] for level in LEVELS) for image in images}

    @cached_property
    def _above(self) -> Mapping[str, tuple[str, ...]]:
        """Family and manufacturer of each variant, variants sorted."""
        found: dict[str, set[tuple[str, ...]]] = defaultdict(set)
        for labels in self._labels.values():
            for variant, *above in labels.values():
                found[variant].add(tuple(above))
        several = [
            f"{variant} ({' and '.join('/'.join(path) for path in sorted(paths))})"
            for variant, paths in sorted(found.items())
            if len(paths) > 1
        ]
        if several:
            raise DataError(
                f"Variants have several families or manufacturers in {self._data}: {name_offenders(several)}."
            )
        return {variant: path for variant in sorted(found) for path in found[variant]}

    @classmethod
    def synthesize(cls, root: Path) -> None:
        """Write images and annotations: a class is a direction of stripes, above a banner of noise."""
        from PIL import Image

        generator = np.random.default_rng(0)
        data = root / cls.folder / "data"
        (data / "images").mkdir(parents=True)
        total = 0
        for split, number in _TWIN.items():
            lines: dict[str, list[str]] = {level: [] for level in LEVELS}
            for index, path in enumerate(_TWIN_AIRCRAFT):
                for _ in range(number):
                    banner = generator.integers(0, 256, (BANNER, 32, 3), dtype=np.uint8)
                    pixels = np.concatenate([striped(index, len(_TWIN_AIRCRAFT), generator, 32), banner])
                    Image.fromarray(pixels).save(data / "images" / f"{total:07d}.jpg", quality=90)
                    for level, label in zip(LEVELS, path, strict=True):
                        lines[level].append(f"{total:07d} {label}\n")
                    total += 1
            for level in LEVELS:
                (data / f"images_{level}_{split}.txt").write_text("".join(lines[level]), encoding="utf-8")


_TWIN_AIRCRAFT = (
    ("707-320", "Boeing 707", "Boeing"),
    ("737-300", "Boeing 737", "Boeing"),
    ("737-400", "Boeing 737", "Boeing"),
    ("A320", "A320", "Airbus"),
    ("A380", "A380", "Airbus"),
    ("F-16A/B", "F-16", "Lockheed Martin"),
    ("F/A-18", "F/A-18", "McDonnell Douglas"),
    ("Spitfire", "Spitfire", "Supermarine"),
)


def read_table(path: Path) -> dict[str, str]:
    """Read annotations: a line an image, its number of seven digits, a space and its label.

    Args:
        path: The file.

    Returns:
        The labels by image, in the file's order.

    Raises:
        DataError: The file is missing, lines are of another form, or images occur twice; all are named.
    """
    lines = text(path).splitlines()
    labels: dict[str, str] = {}
    problems = []
    for number, line in enumerate(lines, start=1):
        image, _, label = line.strip().partition(" ")
        if not (image.isdecimal() and image.isascii() and label):
            problems.append(f"line {number} is {line[:40]!r}")
        elif image in labels:
            problems.append(f"image {image} occurs again in line {number}")
        labels[image] = label
    if problems or not lines:
        raise DataError(f"{path} is no list of images and labels: {name_offenders(problems) or 'it is empty'}.")
    return labels
