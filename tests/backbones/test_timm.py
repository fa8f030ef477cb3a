"""timm's models: their own features, files of weights made here, and what is said of names, sizes and files."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

from ncbench import ConfigurationError, DataError
from ncbench.cli.commands.backbones import backbones
from ncbench.contracts.specs import Spec
from ncbench.training.configuration import resolve
from tests.backbones.cards import CARDS, build
from tests.data.conftest import Server, server  # noqa: F401 - a fixture

SMALL = "mobilenetv3_small_050"
PRETRAINED = f"{SMALL}.lamb_in1k"
SPEC = f"timm:model={PRETRAINED},weights=pretrained"


def test_without_the_package_one_line_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'ncbench\[timm\]'") as caught:
        build("timm", (3, 64, 64), model=SMALL)
    assert "\n" not in str(caught.value)


@pytest.fixture
def timm() -> Any:
    return pytest.importorskip("timm")


def spec(**values: Any) -> str:
    return str(CARDS["timm"].load().Parameters.build(values, owner="timm").spec("timm"))


@pytest.mark.parametrize("shape", [(3, 64, 64), (1, 40, 56)])
@pytest.mark.parametrize("model", [SMALL, "resnet10t"])
def test_a_random_network_is_timms_without_its_classifier(timm: Any, model: str, shape: tuple[int, int, int]) -> None:
    backbone = build("timm", shape, seed=3, model=model)
    assert backbone.training
    torch.manual_seed(3)
    reference = timm.create_model(model, in_chans=shape[0], num_classes=0)
    images = torch.randn(2, *shape)
    for state, other in zip(backbone.network.state_dict().items(), reference.state_dict().items(), strict=True):
        assert state[0] == other[0]
        assert torch.equal(state[1], other[1]), "nor has BatchNorm learned anything yet"
    features = backbone.eval()(images)
    torch.testing.assert_close(features, reference.eval()(images))
    assert features.shape == (2, backbone.feature_dim)


def test_a_vision_transformer_is_built_for_the_images(timm: Any) -> None:
    backbone = build("timm", (3, 32, 32), model="vit_tiny_patch16_224")
    assert backbone(torch.randn(2, 3, 32, 32)).shape == (2, 192)


def test_names_that_mean_the_same_are_one_spec(timm: Any) -> None:
    assert spec(model=PRETRAINED) == spec(model=SMALL) == f"timm:model={SMALL}"
    assert spec(model=SMALL, weights="pretrained") == SPEC


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"model": "resnet19"}, r"Unknown model of timm 'resnet19'\. Did you mean 'resnet18'\?"),
        ({"model": "resnet18.a1_in1kk", "weights": "pretrained"}, r"Did you mean 'resnet18.a1_in1k'\?"),
        ({"model": "hf-hub:somebody/model"}, "Unknown model"),
        ({"model": SMALL, "weights": "imagenet"}, "'none' or 'pretrained'"),
        ({"model": SMALL, "frozen": True}, "a frozen network needs weights=pretrained"),
    ],
)
def test_what_there_is_not_is_refused_in_one_line(timm: Any, values: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said) as caught:
        build("timm", (3, 64, 64), **values)
    assert "\n" not in str(caught.value)
    assert str(caught.value).count(", ") < 20


@pytest.mark.parametrize(
    ("shape", "values", "said"),
    [
        ((3, 32, 32), {"model": "resnet18"}, "does not take images of 3 x 32 x 32"),
        ((4, 64, 64), {"model": PRETRAINED, "weights": "pretrained"}, "1 or 3 channels, and these have 4"),
        ((3, 96, 96), {"model": "vit_tiny_patch16_224", "weights": "pretrained"}, "images of 224 x 224 pixels"),
    ],
)
def test_images_that_a_model_does_not_take_are_refused(
    timm: Any, shape: tuple[int, int, int], values: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigurationError, match=said) as caught:
        build("timm", shape, **values)
    assert "\n" not in str(caught.value)


@pytest.fixture
def hub_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    return tmp_path / "checkpoints" / "timm"


@pytest.fixture
def reference(timm: Any, hub_folder: Path) -> Any:
    """A model whose weights are where those of the pretrained one belong."""
    from safetensors.torch import save_file

    torch.manual_seed(1)
    network = timm.create_model(PRETRAINED).eval()
    hub_folder.mkdir(parents=True)
    save_file(network.state_dict(), hub_folder / f"{PRETRAINED}.safetensors")
    network.reset_classifier(0)
    return network


def test_pretrained_weights_see_images_as_timms_configuration_has_them(timm: Any, reference: Any) -> None:
    config = timm.get_pretrained_cfg(PRETRAINED)
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (config.mean, config.std))
    images = torch.rand(2, 3, 64, 64)
    backbone = build("timm", (3, 64, 64), model=SMALL, weights="pretrained").eval()
    torch.testing.assert_close(backbone(images), reference((images - mean) / std))
    grey = build("timm", (1, 64, 64), model=SMALL, weights="pretrained").eval()
    torch.testing.assert_close(grey(images[:, :1]), reference((images[:, :1].repeat(1, 3, 1, 1) - mean) / std))
    recipe = resolve("erm", "bar", SPEC, 0, {}, synthetic=False).recipe
    assert recipe.input_scaling == "unit"
    with pytest.raises(ConfigurationError, match=r"recipe\.input_scaling=unit; leave out"):
        resolve("erm", "bar", SPEC, 0, {"recipe.input_scaling": "standard"}, synthetic=False)


def test_absent_and_damaged_weights_name_the_command(timm: Any, hub_folder: Path) -> None:
    values = Spec.parse(SPEC).parameters
    with pytest.raises(DataError, match=f"To get it: ncbench backbones fetch {SPEC};"):
        build("timm", (3, 64, 64), **values)
    hub_folder.mkdir(parents=True)
    (hub_folder / f"{PRETRAINED}.safetensors").write_bytes(b"no tensors")
    with pytest.raises(DataError, match=f"damaged or not those of .*: ncbench backbones fetch {SPEC}"):
        build("timm", (3, 64, 64), **values)


def test_weights_are_fetched_from_the_hub_by_its_hash(
    timm: Any,
    reference: Any,
    hub_folder: Path,
    server: Server,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from huggingface_hub import constants

    file = hub_folder / f"{PRETRAINED}.safetensors"
    content = file.read_bytes()
    file.write_bytes(b"damaged")
    sha256 = hashlib.sha256(content).hexdigest()
    lfs = {"sha256": sha256, "size": len(content), "pointerSize": 134}
    listing = {
        "id": f"timm/{PRETRAINED}",
        "sha": "f" * 40,
        "siblings": [{"rfilename": "model.safetensors", "lfs": lfs}],
    }
    address = f"/api/models/timm/{PRETRAINED}?blobs=true"
    monkeypatch.setattr(constants, "ENDPOINT", server.url(""))
    server.files[address] = json.dumps(listing).encode()
    server.files[f"/timm/{PRETRAINED}/resolve/{'f' * 40}/model.safetensors"] = content
    done = CliRunner().invoke(backbones, ["fetch", SPEC], catch_exceptions=False)
    assert done.exit_code == 0
    assert done.stdout == f"Next: ncbench run --backbone {SPEC}\n"
    assert file.read_bytes() == content
    backbone = build("timm", (3, 64, 64), model=SMALL, weights="pretrained")
    assert torch.equal(backbone.network.conv_stem.weight, reference.conv_stem.weight)

    listing["siblings"] = []
    server.files[address] = json.dumps(listing).encode()
    with pytest.raises(DataError, match=r"has no model\.safetensors"):
        CliRunner().invoke(backbones, ["fetch", SPEC], catch_exceptions=False)
    del server.files[address]
    with pytest.raises(DataError, match=r"listing of .* cannot be had"):
        CliRunner().invoke(backbones, ["fetch", SPEC], catch_exceptions=False)


def test_nothing_is_executed_from_a_file_that_is_a_pickle(timm: Any, hub_folder: Path, tmp_path: Path) -> None:
    class Payload:
        def __reduce__(self) -> tuple[Any, ...]:
            return (open, (str(tmp_path / "executed"), "w"))

    values = {"model": "gcvit_xxtiny", "weights": "pretrained"}
    path = CARDS["timm"].load().weights_file(CARDS["timm"].load().Parameters.build(values, owner="timm")).path
    assert path.suffix == ".pth"
    path.parent.mkdir(parents=True)
    torch.save({"weight": Payload()}, path)
    with pytest.raises(DataError, match="damaged"):
        build("timm", (3, 224, 224), **values)
    assert not (tmp_path / "executed").exists()
