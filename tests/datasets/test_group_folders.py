"""Datasets with a folder for each group: UrbanCars, SpuCoAnimals and Spawrious."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ncbench import ConfigurationError, DataError, Dataset, Split
from ncbench.contracts.groups import ravel_attributes

from .conftest import CARDS, copy_tree

NAMES = ("urbancars", "spuco_animals", "spawrious")


@pytest.fixture(scope="module")
def twins(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A data root with the twins; read only."""
    root = tmp_path_factory.mktemp("twins")
    for name in NAMES:
        CARDS[name].load().synthesize(root)
    yield root
    shutil.rmtree(root)


def _dataset(name: str, root: Path, **params: Any) -> Dataset:
    kind = CARDS[name].load()
    return kind(kind.Parameters.build(params, owner=name), root)


def _groups(dataset: Dataset, split: Split) -> list[list[int]]:
    assert split.bias is not None
    sizes = [len(values) for values in dataset.attributes.values()]
    bias = ravel_attributes(split.bias, sizes) if sizes else split.bias
    counts = np.zeros((len(dataset.class_names), len(dataset.bias_names)), dtype=int)
    np.add.at(counts, (split.target, bias), 1)
    return counts.tolist()  # type: ignore[no-any-return]


def test_urbancars_has_two_attributes(twins: Path) -> None:
    dataset = _dataset("urbancars", twins)
    splits = dataset.read()
    assert _groups(dataset, splits["train"]) == [[24, 2, 2, 2], [2, 2, 2, 24]]
    assert _groups(dataset, splits["val"]) == _groups(dataset, splits["test"]) == [[8] * 4] * 2
    assert dataset.aligned_bias == [0, 3]
    assert dataset.bias_names[1] == "bg=urban, coobj=country"
    for split in splits.values():
        for path, target, bias in zip(split.inputs, split.target, split.bias, strict=True):
            car, background, thing = (("urban", "country")[value] for value in (target, *bias))
            assert path.parent.name == f"obj-{car}_bg-{background}_co_occur_obj-{thing}"


def test_masks_beside_images_are_passed_over(twins: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    copy_tree(twins / "urbancars", root / "urbancars")
    before = _dataset("urbancars", root).source_files()
    for path in before:
        shutil.copy(path, path.with_name(f"{path.stem}_mask.png"))
        shutil.copy(path, path.with_name(f"{path.stem}_co_occur_obj_mask.png"))
    assert list(_dataset("urbancars", root).source_files()) == list(before)


def test_birds_and_dogs_have_places_of_their_own(twins: Path) -> None:
    dataset = _dataset("spuco_animals", twins)
    splits = dataset.read()
    assert _groups(dataset, splits["train"]) == [[24, 2, 0, 0], [2, 24, 0, 0], [0, 0, 24, 2], [0, 0, 2, 24]]
    assert _groups(dataset, splits["test"]) == [[8, 8, 0, 0], [8, 8, 0, 0], [0, 0, 8, 8], [0, 0, 8, 8]]
    folders = {"landbirds": 0, "waterbirds": 1, "small_dogs": 2, "big_dogs": 3}
    places = {"land": 0, "water": 1, "indoor": 2, "outdoor": 3}
    for split in splits.values():
        for path, target, bias in zip(split.inputs, split.target, split.bias, strict=True):
            assert (folders[path.parts[-3]], places[path.parts[-2]]) == (target, bias)


# Expected: breed -> places, by the published code's tables.
O2O = {
    "o2o_easy": ("desert", "snow", "jungle", "dirt"),
    "o2o_medium": ("mountain", "jungle", "beach", "dirt"),
    "o2o_hard": ("jungle", "desert", "mountain", "snow"),
}
O2O_TEST = {
    "o2o_easy": ("dirt", "jungle", "snow", "desert"),
    "o2o_medium": ("jungle", "snow", "dirt", "beach"),
    "o2o_hard": ("mountain", "jungle", "snow", "desert"),
}
BREEDS = ("bulldog", "corgi", "dachshund", "labrador")


@pytest.mark.parametrize("protocol", O2O)
def test_one_to_one_each_breed_has_a_place_and_another_ones_in_the_test(twins: Path, protocol: str) -> None:
    dataset = _dataset("spawrious", twins, protocol=protocol)
    assert dataset.aligned_bias is not None
    assert [dataset.bias_names[bias] for bias in dataset.aligned_bias] == list(O2O[protocol])
    filler = "desert" if protocol == "o2o_medium" else "beach"
    for split, expected in (("train", O2O[protocol]), ("test", O2O_TEST[protocol])):
        found = {(path.parts[-2], path.parts[-3], path.parts[-4]) for path in dataset.read()[split].inputs}
        wanted = {(breed, place, half) for breed, place in zip(BREEDS, expected, strict=True) for half in "01"}
        remaining = {(breed, filler, half) for breed in BREEDS for half in "01"} if split == "train" else set()
        assert found == wanted | remaining


def test_many_to_many_two_breeds_share_two_places_and_swap_them_in_the_test(twins: Path) -> None:
    for protocol in ("m2m_easy", "m2m_medium", "m2m_hard"):
        dataset = _dataset("spawrious", twins, protocol=protocol)
        assert dataset.aligned_bias is None
        places = {}
        for split, images in dataset.read().items():
            assert all(path.parts[-4] == "0" for path in images.inputs)
            for breed, name in enumerate(BREEDS):
                here = images.bias[images.target == breed]
                places[split, name] = {dataset.bias_names[bias] for bias in here}
                assert len(places[split, name]) == 2
        assert places["train", "bulldog"] == places["train", "dachshund"] == places["test", "corgi"]
        assert places["train", "labrador"] == places["train", "corgi"] == places["test", "bulldog"]
        assert places["test", "bulldog"] == places["test", "dachshund"] != places["test", "labrador"]


def test_a_part_of_a_folder_is_its_first_images_by_name(twins: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ncbench_datasets.spawrious._ALIGNED", (5, 3))
    monkeypatch.setattr("ncbench_datasets.spawrious._HALF", 6)
    train = _dataset("spawrious", twins).read()["train"]
    bulldogs = [identifier for identifier in train.ids if "desert/bulldog" in identifier]
    assert bulldogs == [f"0/desert/bulldog/{row:03d}" for row in range(5)] + [
        f"1/desert/bulldog/{row:03d}" for row in range(3)
    ]


@pytest.mark.parametrize("name", NAMES)
def test_damage_is_named_folder_by_folder(name: str, twins: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    copy_tree(twins / CARDS[name].load().folder, root / CARDS[name].load().folder)
    missing, empty, foreign = sorted({path.parent for path in _dataset(name, root).source_files()})[:3]
    shutil.rmtree(missing)
    shutil.rmtree(empty)
    empty.mkdir()
    (foreign / "readme.txt").write_text("no image")
    with pytest.raises(DataError) as caught:
        _dataset(name, root).source_files()
    for complaint in (f"{missing} is missing", f"{empty} holds no images", f"{foreign / 'readme.txt'} is no image"):
        assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_protocol_that_does_not_exist_is_refused(twins: Path) -> None:
    with pytest.raises(ConfigurationError, match="o2o_easy"):
        _dataset("spawrious", twins, protocol="m2m")


def test_two_contexts_are_left_to_the_test(tmp_path: Path) -> None:
    CARDS["nico_plus_plus"].load().synthesize(tmp_path)
    shutil.rmtree(tmp_path / "nicopp/public_dg_0416/train/dim/bus")  # a class that a context lacks
    for test in ("autumn+rock", "dim+grass", "outdoor+water"):
        dataset = _dataset("nico_plus_plus", tmp_path, test=test)
        assert list(dataset.class_names) == ["bear", "bicycle", "bird", "bus", "butterfly"]
        assert dataset.aligned_bias is None
        for split, images in dataset.read().items():
            here = {dataset.bias_names[bias] for bias in images.bias}
            assert here == {name for name in dataset.bias_names if (name in test.split("+")) == (split == "test")}
            for path, target, bias in zip(images.inputs, images.target, images.bias, strict=True):
                assert path.parts[-3:-1] == (dataset.bias_names[bias], dataset.class_names[target])
    shutil.rmtree(tmp_path / "nicopp/public_dg_0416/train/rock")
    with pytest.raises(DataError, match="rock is missing"):
        _dataset("nico_plus_plus", tmp_path).read()


def test_every_variation_of_imagenet9_is_tested_on(tmp_path: Path) -> None:
    CARDS["imagenet9"].load().synthesize(tmp_path)
    for variation in ("mixed_rand", "mixed_same", "only_bg_t", "original"):
        dataset = _dataset("imagenet9", tmp_path, test=variation)
        splits = dataset.read()
        assert {path.parts[-4] for path in splits["train"].inputs} == {"in9l"}
        assert {path.parts[-4] for path in splits["test"].inputs} == {variation}
        assert np.bincount(splits["test"].target).tolist() == [4] * 9
        assert splits["test"].bias is None
    with pytest.raises(ConfigurationError, match="mixed_next"):
        _dataset("imagenet9", tmp_path, test="mixed")
