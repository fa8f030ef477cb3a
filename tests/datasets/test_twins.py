"""The twins of datasets that are too large to be at hand: prepared, verified and learnt from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import ncbench
from ncbench.contracts.dataset import DatasetParameters
from ncbench.contracts.specs import Spec
from ncbench.data.sources.manifest import load_manifest
from ncbench.data.store.prepare import locate, prepare
from ncbench.data.store.verify import verify

from .conftest import CARDS


@pytest.mark.parametrize(
    "text",
    [
        "svhn:per_class=16",
        "stl10:per_class=8",
        "imagenet:size=32",
        "inaturalist:size=32",
        "inaturalist:size=32,version=2019,bias=kingdom",
        "fgvc_aircraft:size=32",
        "imagenet9:size=32",
    ],
)
def test_a_twin_is_prepared_verified_and_learnt_from(text: str, tmp_path: Path) -> None:
    given = Spec.parse(text)
    card = CARDS[given.name]
    params = DatasetParameters.build(card.load(), given.parameters, owner=card.name)
    store = prepare(card, params, synthetic=True)
    manifest = load_manifest(card.manifest).for_twin()
    dataset = locate(card, params, manifest, synthetic=True)
    assert verify(dataset, params.spec(card.name), manifest) == []
    settings = {"recipe.epochs": 2, "recipe.batch_size": 8, "recipe.optimizer": "adam", "recipe.lr": 5e-3}
    settings |= {"recipe.schedule": "constant", "recipe.augmentation": "none"}
    result = ncbench.run("erm", text, backbone="small_cnn:width=8", set=settings, output=tmp_path, synthetic=True)
    assert result.status == "completed"
    assert result.record.dataset.fingerprint == store.fingerprint
    assert result.metrics["test"]["accuracy"] > 0.4


@pytest.mark.parametrize(
    ("text", "metric"),
    [
        ("irm_mnist:val=0.2", "conflicting_accuracy"),
        ("spuco_mnist", "worst_group_accuracy"),
        ("urbancars:size=32", "bg_coobj_gap"),
        ("spuco_animals:size=32", "worst_group_accuracy"),
        ("spawrious:size=32", "conflicting_accuracy"),
        ("metashift:size=32", "adjusted_accuracy"),
        ("nico_plus_plus:size=32", "worst_group_accuracy"),
    ],
)
def test_a_biased_twin_is_prepared_verified_shown_and_trained_on(
    text: str, metric: str, cli: Any, tmp_path: Path
) -> None:
    given = Spec.parse(text)
    card = CARDS[given.name]
    params = DatasetParameters.build(card.load(), given.parameters, owner=card.name)
    store = prepare(card, params, synthetic=True)
    manifest = load_manifest(card.manifest).for_twin()
    assert verify(locate(card, params, manifest, synthetic=True), params.spec(card.name), manifest) == []
    code, out, err = cli("data", "show", text, "--synthetic", "--output", tmp_path)
    assert code == 0, err
    shown = [Path(line) for line in out.split()]
    assert [path.name for path in shown] == [f"{card.name}-train.png", f"{card.name}-train.html"]
    assert all(path.stat().st_size > 2000 for path in shown)
    settings = {"recipe.epochs": 1, "recipe.batch_size": 8, "recipe.lr": 1e-2, "recipe.augmentation": "none"}
    result = ncbench.run("erm", text, backbone="small_cnn:width=8", set=settings, output=tmp_path, synthetic=True)
    assert result.status == "completed"
    assert result.record.dataset.fingerprint == store.fingerprint
    assert metric in result.metrics["test"]
