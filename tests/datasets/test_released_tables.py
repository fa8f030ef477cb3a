"""Loaders against the true tables of their releases, without the images."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import numpy as np
import pytest

from ncbench.data.sources.manifest import Manifest, load_manifest

from .conftest import CARDS

pytestmark = pytest.mark.real_data


def _table(name: str) -> Path:
    """Where a released table is; a machine without it skips the test."""
    path = Path(os.environ["NCBENCH_DATA"]) / "released_metadata" / name
    if not path.exists():
        pytest.skip(f"there is no {path}")
    return path


def _place(name: str, root: Path, **tables: Path) -> None:
    folder = root / CARDS[name].load().folder
    folder.mkdir()
    for stem, path in tables.items():
        (folder / f"{stem}{path.suffix}").symlink_to(path)


def _counts_are_promised(name: str, root: Path, manifest: Manifest) -> None:
    kind = CARDS[name].load()
    splits = kind(kind.Parameters(), root).read()
    assert splits.keys() == manifest.counts.keys()
    for split, images in splits.items():
        counts = np.zeros((2, 2), dtype=int)
        np.add.at(counts, (images.target, images.bias), 1)
        assert counts.tolist() == [list(row) for row in manifest.counts[split].groups or ()], split
        assert len(set(images.ids)) == manifest.counts[split].images


def test_waterbirds(tmp_path: Path) -> None:
    _place("waterbirds", tmp_path, metadata=_table("waterbirds/metadata.csv"))
    _counts_are_promised("waterbirds", tmp_path, load_manifest(CARDS["waterbirds"].manifest))


def test_celeba(tmp_path: Path) -> None:
    with zipfile.ZipFile(_table("celeba/list_attr_celeba.zip")) as archive:
        attributes = Path(archive.extract("list_attr_celeba.txt", tmp_path))
    partition = _table("celeba/list_eval_partition.txt")
    _place("celeba", tmp_path, list_attr_celeba=attributes, list_eval_partition=partition)
    _counts_are_promised("celeba", tmp_path, load_manifest(CARDS["celeba"].manifest))


def test_metashift(tmp_path: Path) -> None:
    _place("metashift", tmp_path, metadata_metashift=_table("metashift/metadata_metashift.csv"))
    _counts_are_promised("metashift", tmp_path, load_manifest(CARDS["metashift"].manifest))
