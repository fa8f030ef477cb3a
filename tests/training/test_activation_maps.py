"""Class-activation maps: the published formula, which networks have any, and the command without the package."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import ncbench
from ncbench import ConfigurationError
from ncbench.data.store.prepare import prepare
from ncbench.discovery.registry import registry
from ncbench.records.archive import RunResult
from ncbench.training.finished.activation_maps import activation_maps

DATA = "colored_digits:per_class=25"


def trained(output: Path, backbone: str) -> RunResult:
    return ncbench.run("erm", DATA, backbone=backbone, set={"recipe.epochs": 1}, output=output, device="cpu", warn=str)


@pytest.fixture(scope="module")
def small_cnn(tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    """A run of a network whose last map has four positions."""
    return trained(tmp_path_factory.mktemp("runs"), "small_cnn")


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    store = prepare(registry().find("datasets", "colored_digits").card, {"per_class": 25})
    return np.asarray(store.splits["test"].inputs[:6])


def test_it_is_the_published_formula(small_cnn: RunResult, images: np.ndarray) -> None:
    pytest.importorskip("pytorch_grad_cam", reason="ncbench[cam] is not installed")
    model = ncbench.load_model(small_cnn)
    maps = activation_maps(model, images)
    assert maps is not None
    assert (maps.shape, maps.dtype) == (images.shape[:3], np.float32)

    outputs: list[torch.Tensor] = []
    for module in model.method.modules():
        module.register_forward_hook(lambda module, given, output: outputs.append(output))
    ((inputs, _),) = model.batches(images)
    logits = model.logits(inputs)
    feature_map = [output for output in outputs if output.dim() == 4 and output.shape[2] > 1][-1]
    (gradient,) = torch.autograd.grad(logits.max(dim=1).values.sum(), feature_map)
    weight = gradient.mean(dim=(2, 3), keepdim=True)  # alpha of equation 1
    coarse = (weight * feature_map).sum(dim=1, keepdim=True).relu()  # equation 2
    whole = F.interpolate(coarse, images.shape[1:3], mode="bilinear", align_corners=False)[:, 0].detach().numpy()
    low, high = whole.min(axis=(1, 2), keepdims=True), whole.max(axis=(1, 2), keepdims=True)
    expected = np.divide(whole - low, high - low, out=np.zeros_like(whole), where=high > low)
    assert maps == pytest.approx(expected, abs=1e-3)


def test_a_network_without_convolutions_has_none(tmp_path: Path, images: np.ndarray) -> None:
    assert activation_maps(ncbench.load_model(trained(tmp_path, "mlp")), images) is None


def test_what_comes_of_tokens_has_none(small_cnn: RunResult, images: np.ndarray) -> None:
    model = ncbench.load_model(small_cnn)

    class Tokens(torch.nn.Module):
        def forward(self, features: torch.Tensor) -> torch.Tensor:
            return features.unsqueeze(1).expand(-1, 2, -1)

    tokens = Tokens()
    model.method.add_module("tokens", tokens)
    features = model.method.features
    object.__setattr__(model.method, "features", lambda inputs: tokens(features(inputs)).mean(dim=1))
    assert activation_maps(model, images) is None


def test_without_the_package_there_are_the_pictures_and_one_line(
    small_cnn: RunResult, tmp_path: Path, cli: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pytorch_grad_cam", None)
    code, out, err = cli("errors", small_cnn.folder, "--output", tmp_path)
    assert code == 0
    assert [Path(line).name for line in out.splitlines()] == ["errors.png", "errors.html"]
    assert err.count("\n") == 1
    assert "pip install 'ncbench[cam]'" in err
    with pytest.raises(ConfigurationError, match="grad-cam"):
        activation_maps(ncbench.load_model(small_cnn), np.zeros((1, 8, 8, 3), np.uint8))


def test_the_command_shows_them_where_the_package_is(
    small_cnn: RunResult, tmp_path: Path, cli: Callable[..., tuple[int, str, str]]
) -> None:
    pytest.importorskip("pytorch_grad_cam", reason="ncbench[cam] is not installed")
    code, _, err = cli("errors", small_cnn.folder, "--output", tmp_path)
    assert (code, err) == (0, "")
    page = (tmp_path / "errors.html").read_text()
    assert page.count("<img") == 2 * page.count("<figcaption>")
