"""BFFHQ, Dogs & Cats, and BAR's variant with conflicting training images."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import ncbench
from ncbench import DataError
from ncbench.data.sources.manifest import load_manifest
from ncbench.data.store.prepare import locate, prepare
from ncbench.data.store.verify import verify
from ncbench_datasets.layouts.suffixed_images import conflict_folder

from .conftest import CARDS, copy_tree

SHARES = {"bffhq": "0.5pct", "dogs_and_cats": "1pct"}


@pytest.fixture(params=list(SHARES))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def twins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data root with both twins; read only."""
    root = tmp_path_factory.mktemp("twins")
    for name in SHARES:
        CARDS[name].load().synthesize(root)
    return root


@pytest.fixture
def root(name: str, twins: Path, tmp_path: Path) -> Path:
    """A data root with the twin that a test may damage, without the lists that Dogs & Cats may come with instead."""
    copy_tree(twins / name, tmp_path / "root" / name)
    for entry in (tmp_path / "root" / name).glob("list_*.txt"):
        entry.unlink()
    return tmp_path / "root"


def _dataset(name: str, root: Path, **params: Any) -> Any:
    kind = CARDS[name].load()
    return kind(kind.Parameters(size=32, **params), root)


def test_names_and_folders_say_what_an_image_is(name: str, root: Path) -> None:
    dataset = _dataset(name, root)
    splits = dataset.read()
    assert list(splits) == ["train", "val", "test"]
    assert list(dataset.aligned_bias) == [0, 1]
    for split, number in (("train", 48), ("val", 32), ("test", 48)):
        stored = splits[split]
        assert len(stored.inputs) == number
        for path, target, bias, identifier in zip(stored.inputs, stored.target, stored.bias, stored.ids, strict=True):
            assert path.stem.endswith(f"_{target}_{bias}")
            assert path == root / name / f"{identifier}.png"
    train = splits["train"]
    assert np.sum(train.target != train.bias) == 4
    assert sum("/conflict/" in identifier for identifier in train.ids) == 4
    assert train.ids[0].startswith(f"{SHARES[name]}/align/0/")


def test_what_file_managers_leave_is_no_image(name: str, root: Path) -> None:
    dataset = _dataset(name, root)
    files = dataset.source_files()
    for left in ("Thumbs.db", ".hidden/0_0_0.png", "@eaDir/1_1_1.png", "__MACOSX/deep/2_0_0.png"):
        path = root / name / SHARES[name] / "align" / "0" / left
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    assert _dataset(name, root).source_files() == files


def test_the_share_names_the_folder(name: str, root: Path) -> None:
    names = {0.005: "0.5pct", 0.01: "1pct", 0.02: "2pct", 0.05: "5pct", 0.07: "7pct"}
    assert {share: conflict_folder(share) for share in names} == names
    with pytest.raises(DataError, match=rf"{name}/2pct is missing; .*{name} has {SHARES[name]}\."):
        _dataset(name, root, conflict=0.02).source_files()
    (root / name / SHARES[name]).rename(root / name / "2pct")
    assert len(_dataset(name, root, conflict=0.02).read()["train"].ids) == 48


def test_validation_images_may_lie_in_the_shares_folder_or_not_exist(name: str, root: Path) -> None:
    top = root / name
    beside = _dataset(name, root).read()["val"]
    (top / "valid").rename(top / SHARES[name] / "valid")
    within = _dataset(name, root).read()["val"]
    assert [path.name for path in within.inputs] == [path.name for path in beside.inputs]
    shutil.rmtree(top / SHARES[name] / "valid")
    assert list(_dataset(name, root).read()) == ["train", "test"]


def test_an_epoch_on_the_twin(name: str, twins: Path, tmp_path: Path) -> None:
    spec = _dataset(name, twins).params.spec(name)
    assert verify(_dataset(name, twins), spec, load_manifest(CARDS[name].manifest).for_twin()) == []
    changes = {"recipe.epochs": 3, "recipe.lr": 0.003, "recipe.augmentation": "none", "recipe.batch_size": 8}
    result = ncbench.run("erm", f"{name}:size=32", backbone="small_cnn", set=changes, output=tmp_path, synthetic=True)
    assert result.status == "completed"
    # The twin's bias is learnt before its class.
    assert result.metrics["test"]["aligned_accuracy"] > result.metrics["test"]["conflicting_accuracy"] + 0.5
    assert result.record.primary_metric in result.metrics["test"]


@pytest.mark.parametrize(
    ("folder", "file", "message"),
    [
        ("align/0", "x_0_2.png", "of 2 classes and 2 bias values"),
        ("align/0", "x_2_2.png", "of 2 classes and 2 bias values"),
        ("align/0", "x_1_1.png", "in the folder of another class"),
        ("align/0", "x_0_1.png", "conflicting, but in the folder align"),
        ("conflict/1", "x_1_1.png", "aligned, but in the folder conflict"),
        ("align/0", "0_0.png", r"does not end with _<class>_<bias>\.png"),
        ("align/0", "notes.txt", r"notes\.txt \(its name"),
    ],
)
def test_files_that_make_no_sense_are_named(name: str, root: Path, folder: str, file: str, message: str) -> None:
    place = root / name / SHARES[name] / folder
    shutil.copy(next(place.iterdir()), place / file)
    (root / name / "test" / "one.png").write_bytes(b"")
    with pytest.raises(DataError, match=message) as caught:
        _dataset(name, root).read()
    assert "1 images cannot be used" in str(caught.value)
    assert file in str(caught.value)


def test_hidden_files_are_left_alone(name: str, root: Path) -> None:
    (root / name / SHARES[name] / "align" / ".DS_Store").write_text("")
    assert len(_dataset(name, root).read()["train"].ids) == 48


@pytest.mark.parametrize("damage", ["missing", "empty"])
@pytest.mark.parametrize("folder", ["align", "conflict", "test"])
def test_missing_and_empty_folders_are_named(name: str, root: Path, folder: str, damage: str) -> None:
    place = root / name / (folder if folder == "test" else f"{SHARES[name]}/{folder}")
    shutil.rmtree(place)
    if damage == "empty":
        place.mkdir()
    with pytest.raises(DataError, match=f"{folder} is {damage}"):
        _dataset(name, root).source_files()


# ---------------------------------------------------------------- BAR's variant


def _write_bar(top: Path, inside: str) -> None:
    """Write BAR's variant: places as labelled, but for conflicting images of class 0, which are named by their own."""
    train = top / inside if inside else top
    image = Image.new("RGB", (40, 30), (90, 120, 30))
    folders = [(train / "align", True), (train / "conflict/1pct", False), (train / "conflict/5pct", False)]
    for folder, aligned in [*folders, (top / "test", False)]:
        for target in range(6):
            (folder / str(target)).mkdir(parents=True)
            for number in range(1 if "1pct" in folder.name else 2):
                bias = target if aligned or (target == 0 and folder.name != "test") else (target + 2) % 6
                image.save(folder / str(target) / f"climbing_{number}_{target}_{bias}.jpg")


@pytest.mark.parametrize("inside", ["train", ""])
def test_bars_variant_has_places(tmp_path: Path, inside: str) -> None:
    _write_bar(tmp_path / "bar", inside)
    for conflict, number in ((0.01, 6), (0.05, 12)):
        dataset = _dataset("bar", tmp_path, conflict=conflict)
        assert dataset.bias_names[3] == "place of pole vaulting"
        splits = dataset.read()
        train = splits["train"]
        conflicting = train.target != train.bias
        assert len(train.ids) == 12 + number
        assert conflicting.sum() == number
        # A conflicting image is nobody's at its own place: it gets the next class's, as in the published code.
        places = {int(bias) for target, bias in zip(train.target, train.bias, strict=True) if target == 0 != bias}
        assert places == {1}
        assert set((train.bias - train.target)[conflicting & (train.target == 3)].tolist()) == {2}
        assert (splits["test"].target != splits["test"].bias).all()
        assert "val" not in splits


def test_bars_variant_is_prepared_without_the_counts_of_the_release(tmp_path: Path) -> None:
    _write_bar(tmp_path / "bar", "train")
    store = prepare(CARDS["bar"], {"size": 32, "conflict": 0.05}, data_root=tmp_path)
    assert [len(split) for split in store.splits.values()] == [24, 12]
    assert store.aligned_bias == tuple(range(6))


def test_bars_twin_has_the_release_and_the_variant(tmp_path: Path) -> None:
    CARDS["bar"].load().synthesize(tmp_path)
    numbers = {}
    for conflict in (0.0, 0.01, 0.05):
        dataset = _dataset("bar", tmp_path, conflict=conflict)
        splits = dataset.read()
        numbers[conflict] = {name: len(split.ids) for name, split in splits.items()}
        assert {path.suffix for path in dataset.source_files()} == {".jpg"}
        if conflict:
            assert np.sum(splits["train"].target != splits["train"].bias) == numbers[conflict]["train"] - 72
            assert (splits["test"].target != splits["test"].bias).all()
    assert numbers == {
        0.0: {"train": 72, "test": 36},
        0.01: {"train": 78, "val": 18, "test": 30},
        0.05: {"train": 84, "val": 18, "test": 30},
    }


@pytest.mark.parametrize("conflict", [0.01, 0.05])
def test_an_epoch_on_the_twin_of_bars_variant(conflict: float, tmp_path: Path) -> None:
    dataset = f"bar:conflict={conflict},size=16"
    store = prepare(CARDS["bar"], {"size": 16, "conflict": conflict}, synthetic=True)
    found = locate(
        CARDS["bar"], {"size": 16, "conflict": conflict}, load_manifest(CARDS["bar"].manifest), synthetic=True
    )
    assert verify(found, found.params.spec("bar"), load_manifest(CARDS["bar"].manifest).for_twin()) == []
    changes = {"recipe.epochs": 1, "recipe.augmentation": "none"}
    result = ncbench.run("group_dro", dataset, backbone="mlp", set=changes, output=tmp_path, synthetic=True)
    assert result.status == "completed"
    assert result.record.dataset.fingerprint == store.fingerprint
    assert "conflicting_accuracy" in result.metrics["test"]
    assert "aligned_accuracy" not in result.metrics["test"]  # no test image is at its class's place


def test_a_folder_that_is_nobodys_is_named(tmp_path: Path) -> None:
    CARDS["bar"].load().synthesize(tmp_path)
    (tmp_path / "bar" / "train" / "diving").mkdir()
    with pytest.raises(DataError, match=r"1 files are not named .*train/diving\."):
        _dataset("bar", tmp_path).read()


def test_an_aligned_image_at_another_place_is_named(tmp_path: Path) -> None:
    _write_bar(tmp_path / "bar", "train")
    first = tmp_path / "bar/train/align/2/climbing_0_2_2.jpg"
    first.rename(first.with_name("climbing_0_2_4.jpg"))
    with pytest.raises(DataError, match=r"climbing_0_2_4\.jpg \(conflicting, but in the folder align\)"):
        _dataset("bar", tmp_path, conflict=0.01).read()
