"""The two-colour MNIST of Arjovsky et al."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ncbench
from ncbench import ConfigurationError, Split
from ncbench.data.sources.manifest import load_manifest
from ncbench.data.store.prepare import prepare
from ncbench_datasets.irm_mnist import draw

from .conftest import CARDS

CARD = CARDS["irm_mnist"]


def _splits(root: Path, **params: Any) -> dict[str, Split]:
    kind = CARD.load()
    return dict(kind(kind.Parameters.build(params, owner="irm_mnist"), root).read())


def test_an_image_is_every_other_pixel_of_a_digit_in_its_colour(twin: Path) -> None:
    splits = _splits(twin)
    grey = CARDS["mnist"].load()({}, twin).read()["train"]
    assert [len(splits[name].target) for name in ("train", "test")] == [333, 67]
    for split in splits.values():
        assert split.bias is not None
        for image, colour, name in zip(np.asarray(split.inputs), split.bias, split.ids, strict=True):
            there = grey.ids.index(name)
            np.testing.assert_array_equal(image[..., colour], np.asarray(grey.inputs)[there, ::2, ::2, 0])
            assert not np.delete(image, colour, axis=-1).any()


def test_labels_are_noisy_and_colours_of_the_environment(twin: Path) -> None:
    digits = np.random.default_rng(0).integers(0, 10, 60_000)
    target, colour, environment = draw(digits)
    assert np.bincount(environment).tolist() == [25_000, 25_000, 10_000]
    assert np.flatnonzero(environment == 2)[0] == 50_000
    for value, flipped in enumerate((0.2, 0.1, 0.9)):
        here = environment == value
        assert np.mean(target[here] != (digits[here] < 5)) == pytest.approx(0.25, abs=0.02)
        assert np.mean(colour[here] != target[here]) == pytest.approx(flipped, abs=0.02)
    grey = CARDS["mnist"].load()({}, twin).read()["train"]
    _, colour, environment = draw(grey.target)
    for bias, drawn in (("colour", colour), ("environment", environment)):
        splits = _splits(twin, bias=bias)
        assert np.concatenate([splits["train"].bias, splits["test"].bias]).tolist() == drawn.tolist()
        assert [*splits["train"].ids, *splits["test"].ids] == grey.ids


def test_validation_images_are_those_of_training_or_of_both_colours(twin: Path) -> None:
    whole, same, uniform = (
        _splits(twin, **params) for params in ({}, {"val": 0.2}, {"val": 0.2, "val_bias": "uniform"})
    )
    for splits in (same, uniform):
        assert sorted([*splits["train"].ids, *splits["val"].ids]) == whole["train"].ids
        np.testing.assert_array_equal(splits["test"].inputs, whole["test"].inputs)
    np.testing.assert_array_equal(same["train"].inputs, uniform["train"].inputs)
    rows = [whole["train"].ids.index(name) for name in same["val"].ids]
    np.testing.assert_array_equal(same["val"].inputs, np.asarray(whole["train"].inputs)[rows])
    assert uniform["val"].ids == same["val"].ids
    counts = np.zeros((2, 2), dtype=int)
    np.add.at(counts, (uniform["val"].target, uniform["val"].bias), 1)
    assert np.abs(counts[:, 0] - counts[:, 1]).max() <= 1


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"bias": "environment", "val": 0.1, "val_bias": "uniform"}, "are of no environment"),
        ({"bias": "digit"}, "'colour' or 'environment'"),
        ({"val_bias": "uniform"}, r"put val=0\.1 beside it"),
        ({"val": 0.001}, r"of '5-9', fewer than 1: a share from"),
    ],
)
def test_what_means_nothing_is_refused(twin: Path, params: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        _splits(twin, **params)


def test_who_follows_the_colour_is_misled(tmp_path: Path) -> None:
    settings = {"recipe.epochs": 4, "recipe.batch_size": 16, "recipe.lr": 5e-3}
    result = ncbench.run("erm", "irm_mnist:val=0.2", set=settings, output=tmp_path, synthetic=True)
    assert result.status == "completed"
    assert result.metrics["test"]["accuracy"] < 0.5 < result.metrics["val"]["accuracy"]


@pytest.mark.slow
def test_environments_are_what_irm_compares(tmp_path: Path) -> None:
    result = ncbench.run("irm", "irm_mnist:bias=environment", set={"recipe.epochs": 1}, output=tmp_path, synthetic=True)
    assert result.status == "completed"
    assert result.record.dataset.aligned_bias is None


@pytest.mark.real_data
@pytest.mark.parametrize("spec", ["irm_mnist", "irm_mnist:bias=environment"])
def test_the_real_digits(spec: str) -> None:
    """The store is the one of which every value was found to be what the published main.py makes of the same draws."""
    params = {"bias": "environment"} if ":" in spec else {}
    store = prepare(CARD, params)
    assert store.fingerprint == load_manifest(CARD.manifest).fingerprint(spec)
    assert [len(store.splits[name]) for name in ("train", "test")] == [50_000, 10_000]
