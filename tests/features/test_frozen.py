"""Features of a frozen backbone: kept as they were computed, computed anew when they are not, and trained on."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torchvision import models

import ncbench
from ncbench import ConfigurationError
from ncbench.conformance.problem import SmallBackbone, images_of, make_problem
from ncbench.data.store.open import Store
from ncbench.features.frozen import with_features


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NCBENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "features" / "problem"


@pytest.fixture
def backbone() -> SmallBackbone:
    torch.manual_seed(0)
    return SmallBackbone((3, 4, 4))


def keep(store: Store, backbone: SmallBackbone, said: list[str] | None = None, scaling: str = "unit") -> Store:
    mean, device = (0.5,) * 3, torch.device("cpu")
    return with_features(store, backbone, scaling, mean, mean, device, [].append if said is None else said.append)


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


def test_what_is_broken_off_leaves_nothing(
    cache: Path, backbone: SmallBackbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SmallBackbone, "forward", lambda self, images: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        keep(make_problem(), backbone)
    assert folders(cache) == []


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a file where torchvision's weights of ResNet-18 are looked for."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    torch.manual_seed(1)
    torch.save(models.resnet18(weights=None).state_dict(), tmp_path / "checkpoints" / "resnet18-f37072fd.pth")


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
    with pytest.raises(ConfigurationError, match=r"takes images with recipe\.augmentation=none; leave out"):
        run("erm", **{"recipe.augmentation": "resized_crop_flip"})


def test_a_network_without_weights_cannot_be_frozen(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="a frozen network needs weights=imagenet"):
        ncbench.run("erm", backbone="resnet18:frozen=true", output=tmp_path)
