from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ncbench import DataError
from ncbench.data.sources.manifest import load_manifest
from ncbench.data.store.open import open_store
from ncbench.data.store.prepare import prepare
from ncbench.geometry import Hierarchy, hierarchy_aware_frame

from .conftest import CARDS

CARD = CARDS["fgvc_aircraft"]
KIND: Any = CARD.load()
VARIANTS = ("707-320", "737-300", "737-400", "A320", "A380", "F-16A/B", "F/A-18", "Spitfire")


def _dataset(root: Path) -> Any:
    return KIND(KIND.Parameters(size=28), root)


def _open(root: Path) -> Any:
    dataset = _dataset(root)
    return open_store(dataset, dataset.params.spec("fgvc_aircraft"), load_manifest(CARD.manifest).for_twin())


def _replace(root: Path, file: str, old: str, new: str) -> None:
    path = root / "fgvc_aircraft" / "data" / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_the_annotations_are_read_as_torchvision_reads_them(root: Path) -> None:
    from torchvision.datasets import FGVCAircraft

    expected_root = root / "expected"
    shutil.copytree(root / "fgvc_aircraft", expected_root / "fgvc-aircraft-2013b")
    (expected_root / "fgvc-aircraft-2013b" / "data" / "variants.txt").write_text("\n".join(VARIANTS) + "\n")
    store = _open(root)
    assert store.class_names == VARIANTS
    for split, stored in store.splits.items():
        expected = FGVCAircraft(str(expected_root), split=split)
        assert stored.target.tolist() == expected._labels
        assert stored.ids.tolist() == [f"{split}/{Path(file).stem}" for file in expected._image_files]
        assert stored.bias is None


def test_the_banner_is_not_stored(root: Path) -> None:
    before = _open(root)
    for path in (root / "fgvc_aircraft" / "data" / "images").iterdir():
        pixels = np.asarray(Image.open(path)).copy()
        assert pixels.shape == (52, 32, 3)
        pixels[-20:] = 255
        Image.fromarray(pixels).save(path.with_suffix(".png"))
        path.with_suffix(".png").replace(path)
    for split, stored in _open(root).splits.items():
        np.testing.assert_array_equal(stored.inputs, before.splits[split].inputs)
    dataset = _dataset(root)
    assert (dataset.cut_bottom, dataset.image_size, dataset.shorter_side) == (20, (28, 28), 32)


def test_the_tree_is_manufacturer_family_variant(twin: Path) -> None:
    tree = _dataset(twin).hierarchy
    assert tree.classes == VARIANTS
    assert tree.height == 3
    distances = tree.distances()
    assert distances[1].tolist() == [2, 0, 1, 3, 3, 3, 3, 3]
    assert distances[3, 4] == 2
    assert _open(twin).hierarchy == tree


def test_the_archives_own_folder_is_found(root: Path) -> None:
    before = _open(root).fingerprint
    (root / "fgvc_aircraft" / "fgvc-aircraft-2013b").mkdir()
    (root / "fgvc_aircraft" / "data").rename(root / "fgvc_aircraft" / "fgvc-aircraft-2013b" / "data")
    assert _open(root).fingerprint == before


def test_the_real_counts_are_enforced(twin: Path) -> None:
    with pytest.raises(DataError, match="train: expected 3334 images, found 96"):
        prepare(CARD, {"size": 28}, data_root=twin)


@pytest.mark.parametrize("file", ["images_variant_val.txt", "images_manufacturer_test.txt"])
def test_missing_annotations_are_named(root: Path, file: str) -> None:
    (root / "fgvc_aircraft" / "data" / file).unlink()
    with pytest.raises(DataError, match=f"{file} is missing"):
        _dataset(root).source_files()


def test_missing_images_are_named(root: Path) -> None:
    for number in (3, 100):
        (root / "fgvc_aircraft" / "data" / "images" / f"{number:07d}.jpg").unlink()
    with pytest.raises(DataError, match=r"1 of 96 images are missing: .*0000003\.jpg"):
        _dataset(root).source_files()


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("images_variant_train.txt", "0000000 707-320", "0000000", "no list of images and labels: line 1 is '0000000'"),
        ("images_variant_train.txt", "0000001 ", "../01 ", r"line 2 is '\.\./01 707-320'"),
        ("images_variant_train.txt", "0000001 ", "0000000 ", "image 0000000 occurs again in line 2"),
        ("images_family_train.txt", "0000001 ", "0000500 ", "lacks image 0000001; .* has image 0000500 besides"),
        (
            "images_family_train.txt",
            "0000012 Boeing 737",
            "0000012 737",
            r"737-300 \(737/Boeing and Boeing 737/B",
        ),
        ("images_manufacturer_val.txt", "Airbus", "Boeing", r"A320 \(A320/Airbus and A320/Boeing\)"),
    ],
)
def test_annotations_that_do_not_fit_are_named(root: Path, file: str, old: str, new: str, message: str) -> None:
    _replace(root, file, old, new)
    with pytest.raises(DataError, match=message):
        _open(root)


def test_damaged_annotations_are_named(root: Path) -> None:
    path = root / "fgvc_aircraft" / "data" / "images_family_val.txt"
    path.write_bytes(b"\xff\xfe0\x00")
    with pytest.raises(DataError, match=r"images_family_val\.txt cannot be read"):
        _dataset(root).source_files()
    path.write_text("")
    with pytest.raises(DataError, match=r"images_family_val\.txt is no list of images and labels: it is empty"):
        _dataset(root).source_files()


def test_an_image_in_two_splits_is_named(root: Path) -> None:
    for level in ("variant", "family", "manufacturer"):
        _replace(root, f"images_{level}_test.txt", "0000128 ", "0000005 ")
    with pytest.raises(DataError, match=r"1 images of .* are in several splits: 0000005"):
        _dataset(root).source_files()


def test_a_variant_without_training_images_is_named(root: Path) -> None:
    for level in ("variant", "family", "manufacturer"):
        path = root / "fgvc_aircraft" / "data" / f"images_{level}_train.txt"
        path.write_text("".join(path.read_text().splitlines(keepends=True)[:84]))
    with pytest.raises(DataError, match="no images of class Spitfire"):
        _open(root)


@pytest.mark.real_data
def test_the_tree_is_the_published_one(root: Path) -> None:
    published = Hierarchy.from_json(Path(os.environ["NCBENCH_DATA"]) / "hierarchies" / "fgvc_aircraft.json")
    paths = []
    for index in range(published.num_classes):
        names = [published.node_names[node] for node in (index, *published.ancestors(index))]
        paths.append([name[2:].replace("-slash-", "/") for name in names[:3]])  # without the levels' v-, f- and m-
    data = root / "fgvc_aircraft" / "data"
    for place, split in enumerate(("train", "val", "test")):
        for position, level in enumerate(("variant", "family", "manufacturer")):
            lines = [f"{place}{number:06d} {path[position]}\n" for number, path in enumerate(paths)]
            (data / f"images_{level}_{split}.txt").write_text("".join(lines))
    tree = _dataset(root).hierarchy
    assert [name.replace("/", "-slash-") for name in tree.classes] == [name[2:] for name in published.classes]
    np.testing.assert_array_equal(np.asarray(tree.distances()), np.asarray(published.distances()))
    assert hierarchy_aware_frame(tree, 1.0, 100).min_similarity == pytest.approx(-0.614669, abs=5e-7)
