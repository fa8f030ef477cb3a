"""SpuCoMNIST of Joshi et al."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ncbench import ConfigurationError, Split
from ncbench.contracts.cards import Supervision
from ncbench.data.sources.manifest import load_manifest
from ncbench.data.store.prepare import prepare
from ncbench.training.configuration import resolve
from ncbench_datasets.made.torch_stream import permutations
from ncbench_datasets.spuco_mnist import COLOURS

from .conftest import CARDS

CARD = CARDS["spuco_mnist"]


def _splits(root: Path, **params: Any) -> dict[str, Split]:
    kind = CARD.load()
    return dict(kind(kind.Parameters.build(params, owner="spuco_mnist"), root).read())


@given(
    seed=st.integers(0, 2**31),
    calls=st.lists(st.tuples(st.integers(1, 4), st.integers(1, 60), st.integers(0, 60)), min_size=1, max_size=4),
)
def test_permutations_are_those_of_torch(seed: int, calls: list[tuple[int, int, int]]) -> None:
    stream, generator = np.random.RandomState(seed), torch.Generator().manual_seed(seed)
    for rows, size, first in calls:
        expected = np.stack([torch.randperm(size, generator=generator).numpy()[:first] for _ in range(rows)])
        np.testing.assert_array_equal(permutations(stream, rows, size, first), expected)


@pytest.mark.parametrize(
    ("difficulty", "filled"),
    [
        ("magnitude_large", lambda at: np.ones(at.shape[1:], dtype=bool)),
        ("magnitude_medium", lambda at: (at < 4).all(axis=0)),
        ("magnitude_small", lambda at: (at < 2).all(axis=0)),
        ("variance_low", lambda at: (at < 7).all(axis=0)),
        ("variance_medium", lambda at: (at < 14).all(axis=0)),
        ("variance_high", lambda at: np.ones(at.shape[1:], dtype=bool)),
    ],
)
def test_a_background_fills_its_part_of_an_image_where_there_is_no_digit(
    twin: Path, difficulty: str, filled: Any
) -> None:
    where = filled(np.mgrid[:28, :28])
    grey = CARDS["mnist"].load()({}, twin).read()
    pixels = []
    for split in _splits(twin, difficulty=difficulty).values():
        assert split.bias is not None
        for image, colour, name in zip(np.asarray(split.inputs), split.bias, split.ids, strict=True):
            of = grey[name.split("-")[0]]
            digit = np.asarray(of.inputs)[of.ids.index(name)]
            behind = (image != digit).any(axis=-1)
            assert not (behind & (~where | (digit[..., 0] > 0))).any()
            assert (image[behind] == COLOURS[colour]).all()
            if not difficulty.startswith("variance") or difficulty == "variance_low":
                np.testing.assert_array_equal(behind, where & (digit[..., 0] == 0))
            pixels.append(int(behind.sum()))
    if difficulty.startswith("variance"):
        assert max(pixels) <= 49
        assert max(pixels) > 40


def test_classes_are_pairs_and_backgrounds_go_along_with_them(twin: Path) -> None:
    same, uniform = _splits(twin, conflict=0.1, val_bias="same"), _splits(twin, conflict=0.1)
    grey = CARDS["mnist"].load()({}, twin).read()["train"]
    for splits in (same, uniform):
        assert sorted([*splits["train"].ids, *splits["val"].ids]) == grey.ids
        for name in ("train", "val"):
            digits = grey.target[[grey.ids.index(identifier) for identifier in splits[name].ids]]
            np.testing.assert_array_equal(splits[name].target, digits // 2)
    np.testing.assert_array_equal(same["train"].inputs, uniform["train"].inputs)
    assert np.mean(same["train"].target != same["train"].bias) == pytest.approx(0.1, abs=0.02)
    assert np.mean(same["val"].target != same["val"].bias) == pytest.approx(0.1, abs=0.05)
    for split in (uniform["val"], uniform["test"]):
        counts = np.zeros((5, 5), dtype=int)
        np.add.at(counts, (split.target, split.bias), 1)
        assert (counts.max(axis=1) - counts.min(axis=1)).max() <= 1


def test_who_selects_by_backgrounds_that_are_equally_likely_has_used_bias_labels() -> None:
    for val_bias, expected in (("uniform", "bias"), ("same", "none")):
        dataset = f"spuco_mnist:val_bias={val_bias}"
        configuration = resolve("erm", dataset, None, 0, {"recipe.selection": "val_accuracy"}, True)
        assert configuration.labels_used(reads_val=False) == Supervision("none", expected, False)


@pytest.mark.parametrize("params", [{"conflict": 0}, {"conflict": 1}, {"difficulty": "hard"}, {"val_bias": "none"}])
def test_parameters_that_mean_nothing_are_refused(twin: Path, params: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        _splits(twin, **params)


@pytest.mark.real_data
@pytest.mark.slow
def test_the_real_digits() -> None:
    """The store is the one of which labels, backgrounds and images were found to be the published code's, rounded."""
    store = prepare(CARD, {})
    assert store.fingerprint == load_manifest(CARD.manifest).fingerprint("spuco_mnist")
    assert [len(store.splits[name]) for name in ("train", "val", "test")] == [48_004, 11_996, 10_000]
