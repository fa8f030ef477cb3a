"""The layout of iNaturalist 2019: annotations in COCO's JSON, with the tree of life in the categories."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ncbench import DataError, Split, name_offenders
from ncbench_datasets.layouts.folders import content
from ncbench_datasets.layouts.listed_images import leads_out, listed_images
from ncbench_datasets.layouts.taxonomy import RANKS, Release, Taxonomy

_CATEGORY: Mapping[str, type] = {"id": int, "name": str, **dict.fromkeys(RANKS, str)}
_SECTIONS: Mapping[str, Mapping[str, type]] = {
    "categories": _CATEGORY,
    "images": {"id": int, "file_name": str},
    "annotations": {"image_id": int, "category_id": int},
}


def read_annotations(folder: Path, files: Mapping[str, str]) -> Release:
    """Read a release.

    Args:
        folder: That of the annotations; the images' names are relative to it.
        files: Names of the annotation files, by split.

    Returns:
        The release; a class's index is its category's place in the order of the ids.

    Raises:
        DataError: A file is missing, damaged or lacks what is needed, ids occur twice or do not fit together, the
            splits have different categories, or images are missing; all are named.
    """
    paths = {split: folder / name for split, name in files.items()}
    contents = {split: _read(path) for split, path in paths.items()}
    categories = contents["train"]["categories"]
    if other := [str(paths[split]) for split, content in contents.items() if content["categories"] != categories]:
        raise DataError(f"{name_offenders(other)} has other categories than {paths['train']}.")
    place = {category["id"]: index for index, category in enumerate(categories)}
    splits = {split: _split(split, paths[split], content, place) for split, content in contents.items()}
    return Release(
        taxonomy=Taxonomy(
            lineages=[tuple(category[rank] for rank in RANKS) for category in categories],
            species=[category["name"] for category in categories],
        ),
        splits=splits,
        files=[
            *paths.values(),
            *(image for split in splits.values() for image in split.inputs if isinstance(image, Path)),
        ],
    )


def _read(path: Path) -> dict[str, list[dict[str, Any]]]:
    """Return the three sections, every record of which has what is needed; the categories in the order of their ids."""
    try:
        release = json.loads(content(path))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is truncated or damaged: it is no JSON ({error}).") from error
    problems = []
    sections = {name: release.get(name) if isinstance(release, dict) else None for name in _SECTIONS}
    for name, records in sections.items():
        if not isinstance(records, list) or not records:
            problems.append(f"there are no {name}")
            continue
        for position, record in enumerate(records):
            problems += [f"{name}[{position}] has no {key}" for key in _lacking(record, _SECTIONS[name])]
    if problems:
        raise DataError(f"{path} is not what the release has: {name_offenders(problems)}.")
    # Only what is needed is kept: files of the two splits are compared, and are large.
    kept = {
        name: [{key: record[key] for key in _SECTIONS[name]} for record in records or ()]
        for name, records in sections.items()
    }
    kept["categories"].sort(key=lambda category: category["id"])
    return kept


def _lacking(record: Any, keys: Mapping[str, type]) -> list[str]:
    if not isinstance(record, dict):
        return list(keys)
    return [key for key, kind in keys.items() if type(record.get(key)) is not kind or record[key] == ""]


def _split(split: str, path: Path, content: Mapping[str, list[dict[str, Any]]], place: Mapping[int, int]) -> Split:
    """Put images and annotations together; `place` is the class of each category's id."""
    categories, images, annotations = content["categories"], content["images"], content["annotations"]
    problems = _repeated("category", (record["id"] for record in categories))
    problems += _repeated("image", (record["id"] for record in images))
    problems += _repeated("annotation of image", (record["image_id"] for record in annotations))
    category = {record["image_id"]: record["category_id"] for record in annotations}
    known = {record["id"] for record in images}
    problems += [f"image {number} has no annotation" for number in sorted(known - category.keys())]
    problems += [f"the annotated image {number} does not exist" for number in sorted(category.keys() - known)]
    problems += [f"the category {number} does not exist" for number in sorted(set(category.values()) - place.keys())]
    problems += [
        f"image {record['id']} has the name {record['file_name']!r}, which leads out of the folder"
        for record in images
        if leads_out(record["file_name"])
    ]
    if problems:
        raise DataError(f"{path} does not fit together: {name_offenders(problems)}.")
    return Split(
        inputs=listed_images(path.parent, [record["file_name"] for record in images]),
        target=np.array([place[category[record["id"]]] for record in images], dtype=np.int64),
        bias=None,
        ids=[f"{split}/{record['id']}" for record in images],
    )


def _repeated(what: str, numbers: Iterable[int]) -> list[str]:
    return [f"{what} {number} occurs {times} times" for number, times in Counter(numbers).items() if times > 1]
