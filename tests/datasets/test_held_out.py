"""Validation images held out of the training sources of datasets that are given their bias."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ncbench
from ncbench import ConfigurationError
from ncbench.contracts.cards import Supervision
from ncbench.data.store.prepare import prepare
from ncbench.training.configuration import resolve
from ncbench.training.splits import task_of
from ncbench_datasets.made.biased_splits import assign_bias, assign_training_bias
from ncbench_datasets.made.held_out import hold_out

from .conftest import CARDS

CLASSES = st.lists(st.integers(0, 3), max_size=200).map(lambda drawn: np.array([0, 1, 2, 3, *drawn]))
SHARES = st.floats(0.0, 0.99)
NAMES = ("a", "b", "c", "d")


def _names(classes: np.ndarray) -> list[str]:
    return [f"image-{row}" for row in range(len(classes))]


def _try(classes: np.ndarray, conflict: float, val: float, val_bias: str) -> tuple[np.ndarray, np.ndarray] | str:
    try:
        return assign_training_bias(_names(classes), classes, NAMES, conflict, val, val_bias)
    except ConfigurationError as error:
        return str(error)


@given(classes=CLASSES, share=SHARES)
def test_each_class_gives_its_share(classes: np.ndarray, share: float) -> None:
    held = hold_out(_names(classes), classes, share)
    for index in range(4):
        size = int((classes == index).sum())
        assert int(held[classes == index].sum()) == int(np.floor(size * share + 0.5))


@given(classes=CLASSES, share=SHARES, seed=st.integers(0, 9))
def test_the_names_alone_decide_who_is_held_out(classes: np.ndarray, share: float, seed: int) -> None:
    names = np.array(_names(classes))
    order = np.random.default_rng(seed).permutation(len(names))
    held = set(names[hold_out(names.tolist(), classes, share)].tolist())
    assert set(names[order][hold_out(names[order].tolist(), classes[order], share)].tolist()) == held
    more = set(names[hold_out(names.tolist(), classes, (1 + share) / 2)].tolist())
    assert held <= more


@given(
    classes=CLASSES,
    conflict=st.sampled_from([0.01, 0.1, 0.3]),
    val=SHARES,
    val_bias=st.sampled_from(["same", "uniform"]),
)
def test_both_parts_have_the_bias_they_were_asked_for(
    classes: np.ndarray, conflict: float, val: float, val_bias: str
) -> None:
    found = _try(classes, conflict, val, val_bias)
    if isinstance(found, str):
        return
    bias, held = found
    np.testing.assert_array_equal(bias[~held], assign_bias(classes[~held], 1 - conflict, 4))
    wanted = 0.25 if val_bias == "uniform" else 1 - conflict
    np.testing.assert_array_equal(bias[held], assign_bias(classes[held], wanted, 4))
    if val == 0:
        assert not held.any()
        return
    counts = np.zeros((4, 4), dtype=int)
    np.add.at(counts, (classes[held], bias[held]), 1)
    assert counts.sum(axis=1).min() > 0
    assert np.bincount(classes[~held], minlength=4).min() > 0
    if val_bias == "uniform":
        assert counts.min() > 0
        assert (counts.max(axis=1) - counts.min(axis=1)).max() <= 1
    # What is trained on does not depend on what it is validated on.
    other = _try(classes, conflict, val, "same")
    assert not isinstance(other, str)
    np.testing.assert_array_equal(other[1], held)
    np.testing.assert_array_equal(other[0][~held], bias[~held])


@given(classes=CLASSES, val=st.floats(0.001, 0.999), val_bias=st.sampled_from(["same", "uniform"]))
def test_a_refusal_names_the_shares_that_work(classes: np.ndarray, val: float, val_bias: str) -> None:
    refusal = _try(classes, 0.1, val, val_bias)
    if not isinstance(refusal, str):
        return
    assert "\n" not in refusal
    smallest = np.bincount(classes, minlength=4).min()
    if match := re.search(r"a share from (\S+) to (\S+) works\.$", refusal):
        low, high = float(match[1]), float(match[2])
        for share in (low, high, (low + high) / 2):
            assert not isinstance(_try(classes, 0.1, share, val_bias), str)
        assert not low <= val <= high
    else:
        assert smallest < (5 if val_bias == "uniform" else 2)
        assert refusal.endswith("they are too few.")


def test_without_a_share_nothing_is_new() -> None:
    digits = np.random.default_rng(0).integers(0, 4, 300)
    bias, held = assign_training_bias(_names(digits), digits, NAMES, 0.05, 0.0, "same")
    assert not held.any()
    np.testing.assert_array_equal(bias, assign_bias(digits, 0.95, 4))


def _dataset(name: str, root: Path | None, **params: Any) -> Any:
    kind = CARDS[name].load()
    return kind(kind.Parameters.build(params, owner=name), root)


@pytest.fixture(scope="module")
def twins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data root with the twins; read only."""
    root = tmp_path_factory.mktemp("twins")
    for name in ("colored_mnist", "corrupted_cifar10"):
        CARDS[name].load().synthesize(root)
    return root


@pytest.mark.parametrize("name", ["colored_digits", "colored_mnist", "corrupted_cifar10"])
def test_every_dataset_that_is_given_its_bias_holds_images_out(name: str, twins: Path) -> None:
    root = None if name == "colored_digits" else twins
    changes: dict[str, Any] = {"conflict": 0.25, "type": 1} if name == "corrupted_cifar10" else {"conflict": 0.25}
    whole = _dataset(name, root, **changes)
    assert whole.has_val is False
    before = whole.read()
    splits = {}
    for val_bias in ("same", "uniform"):
        dataset = _dataset(name, root, val=0.25, val_bias=val_bias, **changes)
        splits[val_bias] = dataset.read()
        train, val, test = (splits[val_bias][split] for split in ("train", "val", "test"))
        assert dataset.has_val is True
        assert dataset.val_uses_bias(dataset.params) is (val_bias == "uniform")
        assert not set(train.ids) & set(val.ids)
        assert sorted([*train.ids, *val.ids]) == sorted(before["train"].ids)
        sizes, held = np.bincount(before["train"].target), np.bincount(val.target)
        np.testing.assert_array_equal(held, np.floor(sizes * 0.25 + 0.5))
        assert np.mean(train.target != train.bias) == pytest.approx(0.25, abs=0.03)
        wanted = 0.9 if val_bias == "uniform" else 0.25
        assert np.mean(val.target != val.bias) == pytest.approx(wanted, abs=0.06)
        np.testing.assert_array_equal(test.inputs, before["test"].inputs)
        # An image with the same bias is the same image, wherever it is.
        rows = {identifier: row for row, identifier in enumerate(before["train"].ids)}
        for part in (train, val):
            there = np.array([rows[identifier] for identifier in part.ids])
            same = part.bias == before["train"].bias[there]
            np.testing.assert_array_equal(part.inputs[same], before["train"].inputs[there][same])
    np.testing.assert_array_equal(splits["same"]["train"].inputs, splits["uniform"]["train"].inputs)
    assert splits["same"]["val"].ids == splits["uniform"]["val"].ids


@pytest.mark.parametrize("name", ["colored_digits", "colored_mnist", "corrupted_cifar10", "dogs_and_cats", "irm_mnist"])
@pytest.mark.parametrize(
    ("params", "complaint"),
    [
        ({"val": 1}, "The value 1 for 'val' of .* should be less than 1"),
        ({"val": 1.5}, "should be less than 1"),
        ({"val": -0.1}, "should be greater than or equal to 0"),
        ({"val": float("nan")}, "finite number"),
        ({"val_bias": "uniform"}, "there is no validation split: put val=0.1 beside it"),
        ({"val": 0, "val_bias": "uniform"}, "there is no validation split: put val=0.1 beside it"),
        ({"val": 0.1, "val_bias": "balanced"}, "'same' or 'uniform'"),
    ],
)
def test_parameters_that_mean_nothing_are_refused(name: str, params: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ConfigurationError, match=complaint):
        resolve("erm", f"{name}:" + ",".join(f"{key}={value}" for key, value in params.items()), None, 0, {}, False)


def test_defaults_that_are_spelt_out_are_the_same_run() -> None:
    specs = ("colored_digits:val=0,val_bias=same", "colored_digits")
    spelt, short = (resolve("erm", spec, None, 0, {}, False) for spec in specs)
    assert spelt.run_id == short.run_id
    assert spelt.dataset.spec == "colored_digits"


def test_a_share_without_images_of_a_class_is_refused_before_anything_is_stored(cache: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"of '0', fewer than 10: a share from 0\.0819 to 0\.9956 works"):
        prepare(CARDS["colored_digits"], {"val": 0.05, "val_bias": "uniform"})
    assert not list(cache.glob("stores/*/*/*"))


@pytest.mark.parametrize("val_bias", ["same", "uniform"])
def test_a_method_is_told_of_the_split(val_bias: str) -> None:
    carved = prepare(CARDS["colored_digits"], {"val": 0.1, "val_bias": val_bias})
    whole = prepare(CARDS["colored_digits"], {})
    tasks = [task_of(store, 0, Supervision("none", "none", False)) for store in (carved, whole)]
    assert [(task.has_val, task.bias_known_on_val) for task in tasks] == [(True, True), (False, False)]


@pytest.mark.parametrize(
    ("dataset", "selection", "val"),
    [
        ("colored_digits:val=0.1,val_bias=uniform", "last", "none"),
        ("colored_digits:val=0.1,val_bias=uniform", "val_accuracy", "bias"),
        ("colored_digits:val=0.1,val_bias=uniform", "val_worst_group_accuracy", "bias"),
        ("colored_digits:val=0.1", "val_accuracy", "none"),
        ("colored_digits:val=0.1", "val_group_mean_accuracy", "bias"),
    ],
)
def test_who_selects_by_a_split_that_was_made_by_the_bias_has_used_it(dataset: str, selection: str, val: str) -> None:
    configuration = resolve("erm", dataset, None, 0, {"recipe.selection": selection}, False)
    assert configuration.labels_used(reads_val=False).as_dict() == {"train": "none", "val": val, "hierarchy": False}


def test_an_epoch_is_chosen_by_a_uniform_split(tmp_path: Path) -> None:
    changes = {"recipe.epochs": 4, "recipe.selection": "val_worst_group_accuracy"}
    results = [
        ncbench.run("erm", "colored_digits:val=0.1,val_bias=uniform", seed=seed, set=changes, output=tmp_path)
        for seed in (0, 1)
    ]
    record = results[0].record
    assert record.method.supervision.val == "bias"
    assert record.dataset.parameters["val_bias"] == "uniform"
    assert record.dataset.fingerprint == results[1].record.dataset.fingerprint  # whatever the seed of training
    chosen = record.selection["val_worst_group_accuracy"].epoch
    history = [entry.metrics["val"]["worst_group_accuracy"] for entry in record.history]
    assert history[chosen - 1] == max(history)
    assert sum(cell.count for cell in record.groups["val"]) == 120
    assert min(cell.count for cell in record.groups["val"]) >= 1
