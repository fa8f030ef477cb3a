from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ncbench import ConfigurationError, DataError
from ncbench.contracts.specs import Spec
from ncbench.data.sources.manifest import load_manifest
from ncbench.data.store.open import open_store
from ncbench.data.store.prepare import prepare
from ncbench.geometry import Hierarchy, hierarchy_aware_frame
from ncbench_datasets.layouts.inaturalist_folders import parse_names
from ncbench_datasets.layouts.taxonomy import RANKS, Taxonomy

from .conftest import CARDS

CARD = CARDS["inaturalist"]
KIND: Any = CARD.load()
NAMES = (
    "Lumbricus terrestris",
    "Vanessa atalanta",
    "Vanessa cardui",
    "Corvus corax",
    "Amanita muscaria",
    "Boletus edulis",
    "Quercus robur",
    "Quercus rubra",
)
OAK = "00006_Plantae_Tracheophyta_Magnoliopsida_Fagales_Fagaceae_Quercus_robur"


def _dataset(root: Path | None, **params: Any) -> Any:
    return KIND(KIND.Parameters(size=16, **params), root)


def _open(root: Path, **params: Any) -> Any:
    dataset = _dataset(root, **params)
    return open_store(dataset, dataset.params.spec("inaturalist"), load_manifest(CARD.manifest).for_twin())


# ---------------------------------------------------------------- what is read


@pytest.mark.parametrize(("version", "train"), [(2021, 16), ("2021_mini", 10), (2019, 12)])
def test_every_version_is_read(twin: Path, version: Any, train: int) -> None:
    store = _open(twin, version=version)
    assert store.class_names == NAMES
    assert store.splits["train"].target.tolist() == np.repeat(np.arange(8), train).tolist()
    assert store.splits["test"].target.tolist() == np.repeat(np.arange(8), 6).tolist()
    assert store.splits["train"].bias is None
    assert store.bias_names == ()


def test_ids_lead_back_to_the_source(twin: Path) -> None:
    for version, folder in ((2021, "train"), ("2021_mini", "train_mini")):
        dataset = _dataset(twin, version=version)
        split = dataset.read()["train"]
        for path, identifier in zip(split.inputs, split.ids, strict=True):
            assert path.parent.parent.name == folder
            assert identifier == f"train/{path.parent.name[:5]}/{path.stem}"
    splits = _dataset(twin, version=2019).read()
    for split, file in (("train", "train2019.json"), ("test", "val2019.json")):
        content = json.loads((twin / "inaturalist" / "2019" / file).read_text())
        names = {f"{split}/{image['id']}": image["file_name"] for image in content["images"]}
        classes = {f"{split}/{entry['image_id']}": entry["category_id"] for entry in content["annotations"]}
        for path, target, identifier in zip(splits[split].inputs, splits[split].target, splits[split].ids, strict=True):
            assert path == twin / "inaturalist" / "2019" / names[identifier]
            assert target == classes[identifier]


def test_categories_are_ordered_by_id_and_annotations_matched_by_image(root: Path) -> None:
    before = _open(root, version=2019).fingerprint
    for file in ("train2019.json", "val2019.json"):
        _rewrite(root, file, lambda content: {**content, "categories": content["categories"][::-1]})
        _rewrite(root, file, lambda content: {**content, "annotations": content["annotations"][::-1]})
    assert _open(root, version=2019).fingerprint == before


def test_the_real_counts_are_those_of_2021(twin: Path) -> None:
    with pytest.raises(DataError, match=r"train: expected 2686843 images, found 128.*test: expected 100000"):
        prepare(CARD, {"size": 16}, data_root=twin)
    assert len(prepare(CARD, {"size": 16, "version": 2019}, data_root=twin).splits["test"]) == 48


def test_parameters_are_written_as_they_are_given() -> None:
    spec = Spec.parse("inaturalist:version=2019,bias=order")
    assert str(KIND.Parameters.build(spec.parameters, owner="inaturalist").spec("inaturalist")) == (
        "inaturalist:bias=order,version=2019"
    )
    for wrong in ("version=2018", "bias=species"):
        with pytest.raises(ConfigurationError, match="is not valid"):
            KIND.Parameters.build(Spec.parse(f"inaturalist:{wrong}").parameters, owner="inaturalist")


# ---------------------------------------------------------------- the tree and the bias attribute


def test_the_tree_is_the_same_in_both_layouts(twin: Path) -> None:
    trees = [_dataset(twin, version=version).hierarchy for version in (2021, "2021_mini", 2019)]
    assert trees[0] == trees[1] == trees[2]
    assert _open(twin, version=2019).hierarchy == trees[0]
    distances = trees[0].distances()
    by_name = {pair: float(distances[NAMES.index(pair[0]), NAMES.index(pair[1])]) for pair in _pairs()}
    assert by_name == {
        ("Vanessa atalanta", "Vanessa cardui"): 1,
        ("Amanita muscaria", "Boletus edulis"): 4,
        ("Vanessa cardui", "Corvus corax"): 6,
        ("Quercus rubra", "Lumbricus terrestris"): 7,
    }
    assert trees[0].height == 7


def _pairs() -> list[tuple[str, str]]:
    return [
        ("Vanessa atalanta", "Vanessa cardui"),
        ("Amanita muscaria", "Boletus edulis"),
        ("Vanessa cardui", "Corvus corax"),
        ("Quercus rubra", "Lumbricus terrestris"),
    ]


@pytest.mark.parametrize("version", [2021, 2019])
def test_any_rank_may_be_the_bias_attribute(twin: Path, version: int) -> None:
    expected = {"kingdom": 3, "phylum": 5, "class": 5, "order": 6, "family": 6, "genus": 6}
    assert tuple(expected) == RANKS
    for rank, number in expected.items():
        dataset = _dataset(twin, version=version, bias=rank)
        assert len(dataset.bias_names) == len(set(dataset.bias_names)) == number
        tree = dataset.hierarchy
        for split in dataset.read().values():
            names = [dataset.bias_names[index] for index in split.bias]
            depth = 1 + RANKS.index(rank)
            assert names == [tree.node_names[node] for node in tree.level(depth)[split.target].tolist()]
        assert dataset.aligned_bias is None
    store = _open(twin, version=version, bias="kingdom")
    assert store.bias_names == ("Animalia", "Fungi", "Plantae")
    assert store.splits["test"].bias.tolist() == np.repeat([0, 0, 0, 0, 1, 1, 2, 2], 6).tolist()


def test_one_name_in_two_kingdoms_is_two_groups() -> None:
    moth = ("Animalia", "Arthropoda", "Insecta", "Lepidoptera", "Noctuidae", "Oenanthe")
    plant = ("Plantae", "Tracheophyta", "Magnoliopsida", "Apiales", "Apiaceae", "Oenanthe")
    taxonomy = Taxonomy([moth, plant, plant], ["Oenanthe alba", "Oenanthe alba", "Oenanthe crocata"])
    groups, names = taxonomy.groups("genus")
    assert groups.tolist() == [0, 1, 1]
    assert names == ("/".join(moth), "/".join(plant))
    white = [f"{'/'.join(lineage)}/Oenanthe alba" for lineage in (moth, plant)]
    assert taxonomy.class_names == (*white, "Oenanthe crocata")
    assert taxonomy.hierarchy("").distances().tolist() == [[0, 7, 7], [7, 0, 1], [7, 1, 0]]
    with pytest.raises(DataError, match="1 species occur more than once: Oenanthe alba"):
        Taxonomy([plant, plant], ["Oenanthe alba", "Oenanthe alba"])


@given(st.lists(st.lists(st.sampled_from("ab"), min_size=6, max_size=6).map(tuple), min_size=2, max_size=12))
@settings(max_examples=30)
def test_a_distance_counts_the_ranks_below_the_last_common_one(lineages: list[tuple[str, ...]]) -> None:
    taxonomy = Taxonomy(lineages, [str(index) for index in range(len(lineages))])
    distances = taxonomy.hierarchy("").distances()
    for i, first in enumerate(lineages):
        for j, second in enumerate(lineages):
            common = next((depth for depth in range(6) if first[depth] != second[depth]), 6)
            assert float(distances[i, j]) == (0 if i == j else 7 - common)


def test_ten_thousand_species() -> None:
    sizes = (3600, 900, 300, 60, 15, 3, 1)  # species in a kingdom, in a phylum, and so on
    names = [f"{index:05d}_" + "_".join(f"n{index // size}" for size in sizes) for index in range(10_000)]
    numbers, taxonomy = parse_names(names)
    tree = taxonomy.hierarchy("large")
    assert (tree.num_classes, tree.height) == (10_000, 7)
    assert numbers[-1] == "09999"
    groups, labels = taxonomy.groups("genus")
    assert len(labels) == 3334
    assert np.bincount(groups).max() == 3


# ---------------------------------------------------------------- what is damaged: the folders of 2021


def test_an_underscore_after_the_genus_belongs_to_the_epithet() -> None:
    _, taxonomy = parse_names([OAK.replace("00006", "00000"), OAK.replace("00006", "00001") + "_x_rosacea"])
    assert taxonomy.class_names == ("Quercus robur", "Quercus robur_x_rosacea")
    assert taxonomy.lineages[1][-1] == "Quercus"


def test_folders_with_other_names_are_named(root: Path) -> None:
    for folder in ("train", "val"):
        place = root / "inaturalist" / "2021" / folder
        (place / OAK).rename(place / "00006_Plantae_Fagales_Fagaceae_Quercus_robur")
        (place / OAK.replace("00006", "00007").replace("robur", "rubra")).rename(place / "Quercus_rubra")
    with pytest.raises(
        DataError, match=r"2 class folders are not named <number>_.*: 00006_Plantae_Fag.*; Quercus_rubra"
    ):
        _dataset(root).source_files()


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([OAK.replace("00006", "6")], "1 class folders are not named"),
        ([OAK.replace("Fagales", "")], "1 class folders are not named"),
        ([OAK.replace("00006", "00000"), OAK.replace("00006", "00003")], "00001 is missing; 00002 is missing"),
        ([OAK.replace("00006", "00000"), OAK.replace("00006", "00000") + "2"], "00000 occurs 2 times"),
    ],
)
def test_numbers_and_pieces_must_fit(names: list[str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        parse_names(names)


def test_species_without_images_or_in_one_split_only_are_named(root: Path) -> None:
    place = root / "inaturalist" / "2021"
    for path in (place / "train" / OAK).iterdir():
        path.unlink()
    with pytest.raises(DataError, match=r"Quercus_robur holds no images"):
        _dataset(root).source_files()
    shutil.rmtree(place / "val" / OAK)
    with pytest.raises(DataError, match=r"val/00006_.*_robur is missing"):
        _dataset(root, version="2021_mini").source_files()
    shutil.rmtree(place / "train_mini")
    with pytest.raises(DataError, match=r"2021/train_mini is missing"):
        _dataset(root, version="2021_mini").source_files()


# ---------------------------------------------------------------- what is damaged: the annotations of 2019


def _rewrite(root: Path, file: str, change: Callable[[Any], Any]) -> None:
    path = root / "inaturalist" / "2019" / file
    path.write_text(json.dumps(change(json.loads(path.read_text()))))


def _changed(section: str, position: int, **values: Any) -> Callable[[Any], Any]:
    """Change keys of one record, or remove those whose value is None."""

    def change(content: Any) -> Any:
        record = {**content[section][position], **values}
        content[section][position] = {key: value for key, value in record.items() if value is not None}
        return content

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: [content], "there are no categories; there are no images; there are no annotations"),
        (lambda content: {**content, "images": []}, "there are no images"),
        (_changed("images", 3, file_name=None), r"images\[3\] has no file_name"),
        (_changed("images", 3, id="three"), r"images\[3\] has no id"),
        (
            _changed("categories", 2, order="", genus=None),
            r"categories\[2\] has no order; categories\[2\] has no genus",
        ),
        (_changed("images", 0, id=1), "image 1 occurs 2 times; the annotated image 0 does not exist"),
        (_changed("annotations", 0, image_id=1), "annotation of image 1 occurs 2 times; image 0 has no annotation"),
        (_changed("annotations", 0, category_id=8), "the category 8 does not exist"),
        (_changed("images", 0, file_name="../val.jpg"), r"image 0 has the name '\.\./val\.jpg', which leads out"),
        (_changed("images", 0, file_name="/etc/passwd"), r"image 0 has the name '/etc/passwd', which leads out"),
        (_changed("images", 0, file_name="nowhere.jpg"), r"1 of 96 images are missing: .*nowhere\.jpg"),
        (_changed("categories", 0, genus="Eisenia"), r"val2019\.json has other categories than .*train2019\.json"),
    ],
)
def test_annotations_that_do_not_fit_are_named(root: Path, change: Callable[[Any], Any], message: str) -> None:
    _rewrite(root, "train2019.json", change)
    with pytest.raises(DataError, match=message) as caught:
        _dataset(root, version=2019).source_files()
    assert "\n" not in str(caught.value)


def test_categories_that_occur_twice_are_named(root: Path) -> None:
    for file in ("train2019.json", "val2019.json"):
        _rewrite(root, file, _changed("categories", 3, id=2))
    with pytest.raises(DataError, match="category 2 occurs 2 times; the category 3 does not exist"):
        _dataset(root, version=2019).source_files()


def test_annotations_that_are_no_json_are_named(root: Path) -> None:
    path = root / "inaturalist" / "2019" / "val2019.json"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match=r"val2019\.json is truncated or damaged: it is no JSON"):
        _dataset(root, version=2019).source_files()
    path.unlink()
    with pytest.raises(DataError, match=r"val2019\.json is missing"):
        _dataset(root, version=2019).source_files()


def test_a_species_without_training_images_is_named(root: Path) -> None:
    def change(content: Any) -> Any:
        gone = {entry["image_id"] for entry in content["annotations"] if entry["category_id"] == 5}
        content["annotations"] = [entry for entry in content["annotations"] if entry["image_id"] not in gone]
        content["images"] = [image for image in content["images"] if image["id"] not in gone]
        return content

    _rewrite(root, "train2019.json", change)
    with pytest.raises(DataError, match="no images of class Boletus edulis"):
        _open(root, version=2019)


# ---------------------------------------------------------------- the published tree


@pytest.mark.real_data
def test_the_tree_of_2019_is_the_published_one(root: Path) -> None:
    published = Hierarchy.from_json(Path(os.environ["NCBENCH_DATA"]) / "hierarchies" / "inaturalist19.json")
    folder = root / "inaturalist" / "2019"
    names = ["name", *reversed(RANKS)]
    categories = []
    for index in range(published.num_classes):
        nodes = [index, *published.ancestors(index)][: len(names)]
        categories.append(
            {"id": index, **dict(zip(names, (published.node_names[node] for node in nodes), strict=True))}
        )
    for file in ("train2019.json", "val2019.json"):
        path = folder / file
        content = json.loads(path.read_text())
        path.write_text(json.dumps({**content, "categories": categories[::-1]}))
    tree = _dataset(root, version=2019).hierarchy
    assert tree.classes == published.classes
    np.testing.assert_array_equal(np.asarray(tree.distances()), np.asarray(published.distances()))
    assert hierarchy_aware_frame(tree, 5.0, 1010).min_similarity == pytest.approx(-0.0320236, abs=5e-8)
