"""Features of a frozen backbone: kept as they were computed, computed anew when they are not, and trained on."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import Field
from torch import Tensor

import ncbench
from ncbench import ConfigurationError, DataError
from ncbench.conformance.problem import SmallBackbone, images_of, make_problem
from ncbench.data.files import temporary_for
from ncbench.data.store.open import Store
from ncbench.data.store.prepare import prepare
from ncbench.discovery.registry import Plugin, registry
from ncbench.features.frozen import with_features
from ncbench.features.predictions import read_predictions
from ncbench.training.reporters import Silent


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NCBENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "features" / "problem"


@pytest.fixture
def backbone() -> SmallBackbone:
    torch.manual_seed(0)
    return SmallBackbone((3, 4, 4))


PLUGIN = Plugin("plugin", "somebody", "1.0")


def keep(
    store: Store,
    backbone: ncbench.Backbone,
    said: list[str] | None = None,
    scaling: str = "unit",
    plugin: Plugin = PLUGIN,
) -> Store:
    mean, device, say = (0.5,) * 3, torch.device("cpu"), [].append if said is None else said.append
    return with_features(store, backbone, plugin, scaling, mean, mean, device, say)


def folders(cache: Path) -> list[Path]:
    return [path for path in cache.iterdir() if path.is_dir()]


def test_they_are_the_backbones_in_evaluation_mode_and_in_order(cache: Path, backbone: SmallBackbone) -> None:
    problem = make_problem()
    kept = keep(problem, backbone.train())
    for name in ("train", "val"):
        with torch.no_grad():
            expected = backbone.eval()(images_of(problem, name))
        torch.testing.assert_close(torch.tensor(kept.splits[name].inputs), expected)
        assert kept.splits[name].input_shape == (16,)
        assert kept.splits[name].target is problem.splits[name].target
    assert kept.fingerprint == problem.fingerprint


def test_they_are_computed_once(cache: Path, backbone: SmallBackbone, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    keep(make_problem(), backbone, said)
    monkeypatch.setattr(SmallBackbone, "forward", lambda self, images: 1 / 0)
    keep(make_problem(), backbone, said)
    assert [bool(re.search("are computed once, those of 60 images", line)) for line in said] == [True]


def test_it_is_said_how_far_they_are(cache: Path, backbone: SmallBackbone, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ncbench.features.frozen.SAY_SECONDS", -1.0)
    said: list[str] = []
    keep(make_problem(), backbone, said)
    pattern = r"Features of (\d+) of 60 images are computed; about \d+ min are left\."
    done = [int(match[1]) for match in (re.fullmatch(pattern, line) for line in said) if match]
    assert done[-1] == 60


@pytest.mark.parametrize("name", ["train.npy", "digests.json"])
@pytest.mark.parametrize("damage", [lambda path: path.write_bytes(b"x" + path.read_bytes()[1:]), Path.unlink])
def test_damaged_ones_are_computed_anew(cache: Path, backbone: SmallBackbone, name: str, damage: Any) -> None:
    said: list[str] = []
    before = torch.tensor(keep(make_problem(), backbone).splits["train"].inputs)
    (folder,) = folders(cache)
    damage(folder / name)
    after = torch.tensor(keep(make_problem(), backbone, said).splits["train"].inputs)
    assert torch.equal(before, after)
    assert "are damaged" in said[0]


def test_other_weights_data_and_scalings_have_others(cache: Path, backbone: SmallBackbone) -> None:
    keep(make_problem(), backbone)
    keep(make_problem(), backbone, scaling="centred")
    other = make_problem()
    object.__setattr__(other, "fingerprint", "another")
    keep(other, backbone)
    with torch.no_grad():
        backbone.layers[1].bias += 1
    keep(make_problem(), backbone)
    assert len(folders(cache)) == 4


class Pool(ncbench.Backbone):
    """No weights: what it does follows from a parameter, or from what the state leaves out."""

    class Parameters(ncbench.Parameters):
        pool: str = Field("avg", description="how pixels are pooled")

    feature_dim = 3

    def __init__(self, input_shape: tuple[int, ...], params: Any, scale: Tensor) -> None:
        super().__init__(input_shape, params)
        self.register_buffer("scale", scale, persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        pooled = images.mean((2, 3)) if self.params.pool == "avg" else images.amax((2, 3))
        return pooled * self.scale

    def get_extra_state(self) -> str:
        return "no tensor"

    def set_extra_state(self, state: str) -> None: ...


def test_whatever_features_follow_from_has_others(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def check(pool: str, scale: Tensor, plugin: Plugin = PLUGIN) -> None:
        backbone = Pool((3, 4, 4), Pool.Parameters(pool=pool), scale)
        problem = make_problem()
        expected = backbone(images_of(problem, "train"))
        torch.testing.assert_close(
            torch.tensor(keep(problem, backbone, plugin=plugin).splits["train"].inputs), expected
        )

    one = torch.tensor(1, dtype=torch.bfloat16)  # of no dimension, and of a type that numpy lacks
    check("avg", one)
    check("max", one)
    check("avg", 2 * one)
    monkeypatch.setattr(Pool, "forward", lambda self, images: -images.mean((2, 3)))
    for distribution, version in (("somebody", "1.1"), ("else", "1.0")):
        check("avg", one, Plugin("plugin", distribution, version))
    monkeypatch.setattr(torch, "__version__", "0.1")
    check("avg", one)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", not torch.backends.cudnn.allow_tf32)
    check("avg", one)
    assert len(folders(cache)) == 7


def test_what_a_killed_process_left_is_removed(cache: Path, backbone: SmallBackbone) -> None:
    keep(make_problem(), backbone)
    own = temporary_for(cache / "another").name
    (cache / own.replace(f".{os.getpid()}-", f".{10**30}-")).mkdir()
    keep(make_problem(), backbone, scaling="centred")
    assert not list(cache.glob("*.tmp"))
    assert len(folders(cache)) == 2


def test_what_is_broken_off_leaves_nothing(
    cache: Path, backbone: SmallBackbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SmallBackbone, "forward", lambda self, images: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        keep(make_problem(), backbone)
    assert folders(cache) == []


FROZEN = "resnet18:frozen=true,weights=imagenet"


@pytest.mark.usefixtures("weights")
def test_every_method_trains_on_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NCBENCH_CACHE", str(tmp_path / "cache"))
    said: list[str] = []

    def run(method: str, **settings: Any) -> Any:
        return ncbench.run(
            method,
            "bar:size=40",
            backbone=FROZEN,
            set={"recipe.epochs": 2, **settings},
            output=tmp_path / "runs",
            synthetic=True,
            warn=said.append,
        ).record

    crt, jtt = run("crt", **{"base.recipe.epochs": 2}), run("jtt:identify_epochs=1")
    assert {crt.status, jtt.status} == {"completed"}
    assert sum("are computed once" in line for line in said) == 1
    assert crt.backbone.spec == FROZEN
    assert crt.recipe["augmentation"] == "none"  # bar's own recipe augments
    assert crt.base is not None
    assert torch.load(tmp_path / "runs" / crt.run_id / "model.pt", weights_only=True).keys() == {
        "classifier.weight",
        "classifier.bias",
    }
    store = prepare(registry().find("datasets", "bar").card, {"size": 40}, synthetic=True)
    folder = tmp_path / "runs" / jtt.run_id
    predicted = ncbench.load_model(folder, warn=said.append).predict(np.asarray(store.splits["test"].inputs))
    np.testing.assert_array_equal(predicted, read_predictions(folder).predicted)
    with pytest.raises(ConfigurationError, match=r"takes images with recipe\.augmentation=none; leave out"):
        run("erm", **{"recipe.augmentation": "resized_crop_flip"})


def test_a_network_without_weights_cannot_be_frozen(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="a frozen network needs weights=imagenet"):
        ncbench.run("erm", backbone="resnet18:frozen=true", output=tmp_path)


@pytest.mark.usefixtures("weights")
def test_a_run_does_not_go_on_with_features_of_other_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NCBENCH_CACHE", str(tmp_path / "cache"))

    class Interrupting(Silent):
        def epoch(self, entry: dict[str, Any]) -> None:
            if entry["epoch"] == 2:
                raise KeyboardInterrupt

    options: dict[str, Any] = {"set": {"recipe.epochs": 2}, "output": tmp_path / "runs", "synthetic": True}
    options |= {"backbone": FROZEN, "warn": lambda line: None}
    with pytest.raises(KeyboardInterrupt):
        ncbench.run("erm", "bar:size=40", reporter=Interrupting(), **options)
    (path,) = tmp_path.glob("checkpoints/resnet18-*.pth")
    before = path.read_bytes()
    torch.save({name: value * 2 for name, value in torch.load(path, weights_only=True).items()}, path)
    with pytest.raises(DataError, match="made with something else: the features of the frozen backbone was "):
        ncbench.run("erm", "bar:size=40", resume=True, **options)
    path.write_bytes(before)
    assert ncbench.run("erm", "bar:size=40", resume=True, **options).status == "completed"
