from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ncbench
from ncbench import ConfigurationError, DataError
from ncbench.data.sources.manifest import load_manifest
from ncbench.data.store.prepare import prepare
from ncbench.data.store.verify import verify
from ncbench_datasets.corrupted_cifar10 import CORRUPTIONS_OF_TYPE
from ncbench_datasets.corruptions import CORRUPTIONS, corrupt

from .conftest import CARDS

CARD = CARDS["corrupted_cifar10"]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data root with CIFAR-10's twin; read only."""
    root = tmp_path_factory.mktemp("twin")
    CARDS["cifar10"].load().synthesize(root)
    return root


def _dataset(root: Path, name: str = "corrupted_cifar10", **params: Any) -> Any:
    kind = CARDS[name].load()
    return kind(kind.Parameters.build(params, owner=name), root)


def test_the_types_have_ten_corruptions_each() -> None:
    assert set(CORRUPTIONS_OF_TYPE[0]) | set(CORRUPTIONS_OF_TYPE[1]) == set(CORRUPTIONS)
    assert [len(names) for names in CORRUPTIONS_OF_TYPE] == [10, 10]


@pytest.mark.parametrize("kind", [0, 1])
def test_every_image_has_the_corruption_it_is_labelled_with(root: Path, kind: int) -> None:
    clean = _dataset(root, "cifar10").read()
    dataset = _dataset(root, type=kind, conflict=0.25, severity=3)
    assert dataset.bias_names == CORRUPTIONS_OF_TYPE[kind]
    for split, stored in dataset.read().items():
        np.testing.assert_array_equal(stored.target, clean[split].target)
        assert list(stored.ids) == list(clean[split].ids)
        for row in range(0, len(stored.target), 9):
            image = clean[split].inputs[row : row + 1]
            expected = corrupt(image, dataset.bias_names[stored.bias[row]], 3, split, [row])[0]
            np.testing.assert_array_equal(stored.inputs[row], expected)


def test_the_corruption_goes_along_with_the_class_in_training_only(root: Path) -> None:
    splits = _dataset(root, type=1, conflict=0.25).read()
    counts = {split: np.zeros((10, 10), dtype=int) for split in splits}
    for split, table in counts.items():
        np.add.at(table, (splits[split].target, splits[split].bias), 1)
    # 40 images a class to train on: 30 aligned, the others spread over the nine; 10 to test, one of each.
    assert counts["train"].diagonal().tolist() == [30] * 10
    off = counts["train"][~np.eye(10, dtype=bool)]
    assert set(off.tolist()) <= {1, 2}
    assert (counts["test"] == 1).all()


def test_a_share_is_set_apart_for_validation(root: Path) -> None:
    whole, carved = _dataset(root, conflict=0.25).read(), _dataset(root, conflict=0.25, val=0.25).read()
    assert list(carved) == ["train", "val", "test"]
    assert sorted([*carved["train"].ids, *carved["val"].ids]) == sorted(whole["train"].ids)
    # An image with the same corruption is the same image, wherever it is.
    before = {identifier: row for row, identifier in enumerate(whole["train"].ids)}
    for part in (carved["train"], carved["val"]):
        rows = [before[identifier] for identifier in part.ids]
        same = part.bias == whole["train"].bias[rows]
        assert same.mean() > 0.6
        np.testing.assert_array_equal(part.inputs[same], whole["train"].inputs[rows][same])


def test_the_severity_changes_the_images_and_not_the_labels(root: Path) -> None:
    mild, strong = (_dataset(root, type=1, severity=severity).read()["train"] for severity in (1, 5))
    np.testing.assert_array_equal(mild.bias, strong.bias)
    changed = (mild.inputs != strong.inputs).any(axis=(1, 2, 3))
    assert not changed[mild.bias == 9].any()  # the original
    assert changed[mild.bias == 0].all()


def test_the_store_and_an_epoch_on_the_twin(root: Path, tmp_path: Path) -> None:
    manifest = load_manifest(CARD.manifest).for_twin()
    dataset = _dataset(root, conflict=0.1)
    assert verify(dataset, dataset.params.spec("corrupted_cifar10"), manifest) == []
    store = prepare(CARD, {"conflict": 0.1}, synthetic=True)
    assert store.bias_names == CORRUPTIONS_OF_TYPE[0]
    assert store.aligned_bias == tuple(range(10))
    result = ncbench.run(
        "shortcut_prime",
        "corrupted_cifar10:conflict=0.1",
        backbone="small_cnn",
        set={"recipe.epochs": 1},
        output=tmp_path,
        synthetic=True,
    )
    assert result.status == "completed"
    assert result.record.dataset.fingerprint == store.fingerprint
    assert "group_mean_accuracy" in result.metrics["test"]


def test_the_real_counts_are_enforced(root: Path) -> None:
    with pytest.raises(DataError, match="train: expected 50000 images, found 400"):
        prepare(CARD, {}, data_root=root)


@pytest.mark.parametrize("params", [{"type": 2}, {"severity": 0}, {"severity": 6}, {"conflict": 0}, {"conflict": 1}])
def test_parameters_out_of_range_are_refused(params: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        CARD.load().Parameters.build(params, owner="corrupted_cifar10")
