"""Dogs & Cats by its released lists; its folders are tested with BFFHQ's."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ncbench
from ncbench import ConfigurationError, DataError
from ncbench.contracts.dataset import Split
from ncbench.data.sources.manifest import load_manifest
from ncbench.data.store.prepare import locate, prepare
from ncbench.data.store.verify import verify

from .conftest import CARDS, copy_tree

CARD = CARDS["dogs_and_cats"]
SPLITS = ("train", "val", "test")


@pytest.fixture(scope="module")
def twin_of_both(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data root with the twin; read only."""
    root = tmp_path_factory.mktemp("twin")
    CARD.load().synthesize(root)
    return root


@pytest.fixture(scope="module")
def lists(twin_of_both: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data root with the lists and their images alone; read only."""
    root = tmp_path_factory.mktemp("lists")
    (root / "dogs_and_cats").mkdir()
    for entry in ("list_dark.txt", "list_bright.txt", "train"):
        (root / "dogs_and_cats" / entry).symlink_to(twin_of_both / "dogs_and_cats" / entry)
    return root


@pytest.fixture
def damaged(twin_of_both: Path, tmp_path: Path) -> Path:
    """A data root with the lists, which a test may damage."""
    copy_tree(twin_of_both / "dogs_and_cats", tmp_path / "root" / "dogs_and_cats")
    shutil.rmtree(tmp_path / "root" / "dogs_and_cats" / "1pct")
    return tmp_path / "root"


def _dataset(root: Path, **params: Any) -> Any:
    kind = CARD.load()
    return kind(kind.Parameters.build({"size": 32, **params}, owner="dogs_and_cats"), root)


def _groups(split: Split) -> list[list[int]]:
    counts = np.zeros((2, 2), dtype=int)
    np.add.at(counts, (split.target, split.bias), 1)
    return counts.tolist()  # type: ignore[no-any-return]


def _is_enough(groups: list[list[int]], val: float) -> bool:
    """Whether the 35 aligned and 19 conflicting images of a class, with those trained on, can make val uniform."""
    for target, row in enumerate(groups):
        trained = {35: row[target], 19: row[1 - target]}
        held = {there: int(np.floor(number * val + 0.5)) for there, number in trained.items()}
        if any(max(held.values()) - held[there] > there - number for there, number in trained.items()):
            return False
    return True


def test_one_half_is_trained_on_and_the_other_tested_on(lists: Path) -> None:
    tb1, tb2 = (_dataset(lists, protocol=protocol) for protocol in ("tb1", "tb2"))
    assert (tb1.aligned_bias, tb2.aligned_bias) == ((0, 1), (1, 0))
    first, second = tb1.read(), tb2.read()
    assert list(first) == ["train", "test"]
    assert _groups(first["train"]) == [[40, 0], [0, 40]]
    assert _groups(first["test"]) == [[0, 24], [24, 0]]
    assert first["train"].ids == second["test"].ids
    assert first["test"].ids == second["train"].ids
    dark = (lists / "dogs_and_cats" / "list_dark.txt").read_text().split()
    for path, target, bias, identifier in zip(*vars(first["train"]).values(), strict=True):
        assert path == lists / "dogs_and_cats" / f"{identifier}.jpg"
        assert path.name.startswith(("cat", "dog")[target])
        assert (path.name in dark) == (bias == 0)


@given(conflict=st.floats(0.005, 0.9), val=st.sampled_from([0.0, 0.1, 0.3]), uniform=st.booleans())
def test_a_share_is_drawn_into_training(lists: Path, conflict: float, val: float, uniform: bool) -> None:
    val_bias = "uniform" if uniform and val else "same"
    dataset = _dataset(lists, conflict=conflict, val=val, val_bias=val_bias)
    whole = _dataset(lists, conflict=conflict).read()["train"]
    if val_bias == "uniform" and not _is_enough(_groups(whole), val):
        with pytest.raises(ConfigurationError, match=r"with val_bias=uniform takes \d+ more .* left beside") as caught:
            dataset.read()
        if works := re.search(r"a share up to (\S+), or val_bias=same works\.$", str(caught.value)):
            smaller = float(works[1])
            assert smaller < val
            assert _is_enough(_groups(whole), smaller)
        return
    splits = dataset.read()
    assert list(splits) == [split for split in SPLITS if split != "val" or val]
    assert dataset.has_val is bool(val)
    ids = [identifier for split in splits.values() for identifier in split.ids]
    assert len(set(ids)) == len(ids)
    # A fifth of the smallest group, the same images for every share.
    assert _groups(splits["test"]) == [[5, 5], [5, 5]]
    assert splits["test"].ids == _dataset(lists, conflict=0.02).read()["test"].ids
    for target, row in enumerate(_groups(whole)):
        aligned, conflicting = row[target], row[1 - target]
        assert conflicting == pytest.approx(max(1, conflict * sum(row)), abs=1)
        assert aligned == 35 or conflicting == 19  # as many as there are
    if not val:
        return
    train, held = np.array(_groups(splits["train"])), np.array(_groups(splits["val"]))
    np.testing.assert_array_equal(train, np.array(_groups(whole)) - np.floor(np.array(_groups(whole)) * val + 0.5))
    assert set(splits["train"].ids) <= set(whole.ids)
    if val_bias == "uniform":
        assert (held[:, 0] == held[:, 1]).all()
        assert splits["train"].ids == _dataset(lists, conflict=conflict, val=val).read()["train"].ids
    else:
        assert set(splits["val"].ids) == set(whole.ids) - set(splits["train"].ids)


def test_the_order_of_the_lists_does_not_matter(damaged: Path) -> None:
    before = _dataset(damaged, conflict=0.1, val=0.2, val_bias="uniform").read()
    for name in ("list_dark.txt", "list_bright.txt"):
        path = damaged / "dogs_and_cats" / name
        path.write_bytes(b"\xef\xbb\xbf" + "\r\n".join(reversed(path.read_text().split())).encode())
    after = _dataset(damaged, conflict=0.1, val=0.2, val_bias="uniform").read()
    assert {name: split.ids for name, split in after.items()} == {name: split.ids for name, split in before.items()}


def test_a_folder_goes_before_the_lists_unless_they_are_needed(twin_of_both: Path, lists: Path) -> None:
    assert _dataset(twin_of_both).read()["train"].ids[0].startswith("1pct/align/")
    assert _dataset(twin_of_both).has_val is True  # its folder `valid`
    for params in ({"conflict": 0.05}, {"val": 0.1}, {"protocol": "tb1"}, {"protocol": "tb2", "val": 0.1}):
        both, alone = (_dataset(root, **params).read() for root in (twin_of_both, lists))
        assert {name: split.ids for name, split in both.items()} == {name: split.ids for name, split in alone.items()}


@pytest.mark.parametrize("params", [{"protocol": "tb1"}, {"val": 0.1}])
def test_who_needs_the_lists_is_told_so(damaged: Path, params: dict[str, Any]) -> None:
    (damaged / "dogs_and_cats" / "list_dark.txt").unlink()
    with pytest.raises(DataError, match=r"list_dark\.txt is missing"):
        _dataset(damaged, **params).source_files()


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("cat.x.jpg", r"cat\.x\.jpg in list_dark\.txt \(not named cat\.<number>\.jpg"),
        ("../cat.1.jpg", r"\.\./cat\.1\.jpg in list_dark"),
        ("bird.3.jpg", r"bird\.3\.jpg in list_dark"),
        ("cat.0.jpg", r"cat\.0\.jpg \(listed 2 times\)"),
        ("cat.9999.jpg", r"1 of 129 images are missing: .*train/cat\.9999\.jpg"),
    ],
)
def test_lists_that_make_no_sense_are_named(damaged: Path, line: str, complaint: str) -> None:
    with (damaged / "dogs_and_cats" / "list_dark.txt").open("a") as file:
        file.write(f"{line}\n")
    with pytest.raises(DataError, match=complaint):
        _dataset(damaged).source_files()


@pytest.mark.parametrize(
    ("params", "complaint"),
    [
        ({"protocol": "tb3"}, "'shares', 'tb1' or 'tb2'"),
        ({"protocol": "tb1", "conflict": 0.05}, "no image it trains on is conflicting: leave out conflict"),
        ({"protocol": "tb2", "val": 0.1, "val_bias": "uniform"}, "conflicting images in the test only"),
    ],
)
def test_parameters_that_contradict_each_other_are_refused(params: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ConfigurationError, match=complaint):
        CARD.load().Parameters.build(params, owner="dogs_and_cats")


@pytest.mark.parametrize("share", [0.001, 0.99])
@pytest.mark.parametrize("protocol", ["shares", "tb2"])
def test_a_share_that_leaves_a_class_empty_is_refused(lists: Path, share: float, protocol: str) -> None:
    with pytest.raises(ConfigurationError, match=r"training images of '\w+ (cat|dog)', .*: a share from .* works"):
        _dataset(lists, protocol=protocol, val=share).read()


@pytest.mark.parametrize("text", ["protocol=tb1", "protocol=tb2,val=0.1", "conflict=0.05,val=0.2,val_bias=uniform"])
def test_an_epoch_on_the_twin(text: str, tmp_path: Path) -> None:
    given = dict(pair.split("=") for pair in f"size=16,{text}".split(","))
    manifest = load_manifest(CARD.manifest)
    dataset = locate(CARD, given, manifest, synthetic=True)
    store = prepare(CARD, given, synthetic=True)
    assert verify(dataset, dataset.params.spec("dogs_and_cats"), manifest.for_twin()) == []
    selection = "val_accuracy" if "val" in given else "last"
    changes = {"recipe.epochs": 2, "recipe.augmentation": "none", "recipe.selection": selection}
    spec = f"dogs_and_cats:size=16,{text}"
    result = ncbench.run("erm", spec, backbone="small_cnn", set=changes, output=tmp_path, synthetic=True)
    assert result.status == "completed"
    assert result.record.dataset.fingerprint == store.fingerprint
    assert result.record.method.supervision.val == ("bias" if "uniform" in text else "none")
    shown = result.metrics["test"]
    assert ("aligned_accuracy" in shown) == ("conflict" in text)  # of tb1 and tb2 every test image conflicts
    assert "conflicting_accuracy" in shown


@pytest.mark.real_data
def test_the_real_lists() -> None:
    root = Path(os.environ["NCBENCH_DATA"])
    counts = {
        protocol: {name: _groups(split) for name, split in _dataset(root, protocol=protocol).read().items()}
        for protocol in ("tb1", "tb2")
    }
    tb1, tb2 = [[4748, 0], [0, 5299]], [[0, 3086], [3652, 0]]
    assert counts == {"tb1": {"train": tb1, "test": tb2}, "tb2": {"train": tb2, "test": tb1}}
    for conflict, groups in ((0.01, [[4131, 42], [47, 4682]]), (0.05, [[4131, 217], [246, 4682]])):
        splits = _dataset(root, conflict=conflict).read()
        assert {name: _groups(split) for name, split in splits.items()} == {"train": groups, "test": [[617, 617]] * 2}


@pytest.mark.slow
@pytest.mark.real_data
@pytest.mark.parametrize("text", ["protocol=tb1", "conflict=0.05,val=0.1,val_bias=uniform"])
def test_an_epoch_on_the_real_photographs(text: str, tmp_path: Path) -> None:
    spec = f"dogs_and_cats:size=16,{text}"
    result = ncbench.run("erm", spec, backbone="small_cnn:width=8", set={"recipe.epochs": 1}, output=tmp_path)
    assert result.status == "completed"
    assert not result.record.dataset.mismatch
