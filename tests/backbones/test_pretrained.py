"""Pretrained weights: where they come from, which images they take, and files that are not what they should be."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from torchvision import models

from ncbench import ConfigurationError, DataError
from tests.backbones.cards import CARDS, ONE_OF_EACH, TORCHVISION, build

NETWORKS = [name for name in ONE_OF_EACH if name in TORCHVISION]
SIDES = {"vit_b_16": 224}  # the others take many sizes


@pytest.fixture
def checkpoints(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    return folder


@pytest.fixture
def reference(checkpoints):
    torch.manual_seed(1)
    network = models.resnet18(weights=None)
    torch.save(network.state_dict(), checkpoints / "resnet18-f37072fd.pth")
    return network.eval()


def write_constants(folder: Path, name: str) -> dict[str, float]:
    """Write a small file with the keys and shapes of the published one, and return the one number of each tensor."""
    factory = CARDS[name].load()
    with torch.device("meta"):
        state = factory.constructor(weights=None).state_dict()
    constants = {
        key: (i + 1) / 1024 if value.is_floating_point() else i for i, (key, value) in enumerate(state.items())
    }
    torch.save(
        {
            # The published files of DenseNets have the keys of an older torchvision.
            re.sub(r"(layer\d+\.(?:norm|conv))(\d)", r"\1.\2", key): torch.tensor(constants[key]).expand(value.shape)
            for key, value in state.items()
        },
        folder / factory.imagenet.url.rpartition("/")[2],
    )
    return constants


@pytest.mark.parametrize("name", NETWORKS)
def test_every_weight_but_the_classifiers_comes_from_the_file(name, checkpoints):
    constants = write_constants(checkpoints, name)
    side = SIDES.get(name, 64)
    loaded = build(name, (3, side, side), weights="imagenet").network.state_dict()
    assert loaded.keys() == set(list(constants)[:-2])
    for key, value in loaded.items():
        assert bool((value == constants[key]).all()), key


@pytest.mark.parametrize(("name", "side"), [("resnet18", 33), ("vgg11", 32), ("densenet121", 61)])
def test_the_smallest_images_train_in_a_batch_of_one_and_smaller_ones_are_refused(name, side, checkpoints):
    write_constants(checkpoints, name)
    backbone = build(name, (3, side, side), weights="imagenet").train()
    assert torch.isfinite(backbone(torch.randn(1, 3, side, side))).all()
    with pytest.raises(ConfigurationError, match=f"{name}:weights=imagenet needs images of at least {side} x {side}"):
        build(name, (3, side, side - 1), weights="imagenet")


def test_a_pretrained_vision_transformer_takes_one_size():
    with pytest.raises(ConfigurationError, match="needs images of 224 x 224 pixels, and these have 192 x 192"):
        build("vit_b_16", (3, 192, 192), weights="imagenet")


def test_a_pretrained_network_computes_what_torchvisions_does(reference):
    backbone = build("resnet18", (3, 40, 40), weights="imagenet").eval()
    reference.fc = torch.nn.Identity()
    images = torch.randn(2, 3, 40, 40)
    torch.testing.assert_close(backbone(images), reference(images))


def test_grey_images_see_the_weights_summed_over_the_colours(reference):
    backbone = build("resnet18", (1, 40, 40), weights="imagenet").eval()
    reference.fc = torch.nn.Identity()
    images = torch.randn(2, 1, 40, 40)
    torch.testing.assert_close(backbone(images), reference(images.expand(-1, 3, -1, -1)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["vgg11", "densenet121", "vit_b_16"])
def test_a_first_convolution_for_grey_images_keeps_its_bias(name, checkpoints):
    constants = write_constants(checkpoints, name)
    side = SIDES.get(name, 64)
    backbone = build(name, (1, side, side), weights="imagenet")
    path = CARDS[name].load().first_convolution
    first = backbone.network.get_submodule(path)
    torch.testing.assert_close(first.weight, torch.full_like(first.weight, 3 * constants[f"{path}.weight"]))
    assert first.weight.shape[1] == 1
    assert first.bias is None or bool((first.bias == constants[f"{path}.bias"]).all())


def test_other_numbers_of_channels_are_refused():
    with pytest.raises(ConfigurationError, match="1 or 3 channels, and these have 4"):
        build("resnet18", (4, 40, 40), weights="imagenet")


@pytest.mark.parametrize("name", NETWORKS)
def test_absent_weights_say_where_they_belong_and_how_to_do_without(name, checkpoints):
    with pytest.raises(DataError) as raised:
        build(name, (3, 224, 224), weights="imagenet")
    message = str(raised.value)
    assert str(checkpoints / f"{name}{'_bn' if 'vgg' in name else ''}-") in message
    assert f"--backbone {name}." in message
    assert "\n" not in message


@pytest.mark.parametrize("damage", [lambda whole: b"", lambda whole: b"not a checkpoint", lambda whole: whole[:-100]])
def test_a_damaged_file_is_named(checkpoints, reference, damage):
    path = checkpoints / "resnet18-f37072fd.pth"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError, match=r"resnet18-f37072fd\.pth are damaged"):
        build("resnet18", (3, 64, 64), weights="imagenet")


@pytest.mark.parametrize("content", [{}, [1, 2], {"conv1.weight": 3}], ids=["nothing", "list", "number"])
def test_a_file_without_weights_is_named(checkpoints, content):
    torch.save(content, checkpoints / "resnet18-f37072fd.pth")
    with pytest.raises(DataError, match=r"resnet18-f37072fd\.pth are damaged"):
        build("resnet18", (3, 64, 64), weights="imagenet")


def test_weights_of_another_network_are_refused(checkpoints):
    torch.save(models.resnet34(weights=None).state_dict(), checkpoints / "resnet18-f37072fd.pth")
    with pytest.raises(DataError, match="not those of resnet18"):
        build("resnet18", (3, 64, 64), weights="imagenet")


def test_nothing_is_executed_from_a_weights_file(checkpoints, tmp_path):
    class Payload:
        def __reduce__(self):
            return (open, (str(tmp_path / "executed"), "w"))

    torch.save({"conv1.weight": Payload()}, checkpoints / "resnet18-f37072fd.pth")
    with pytest.raises(DataError):
        build("resnet18", (3, 64, 64), weights="imagenet")
    assert not (tmp_path / "executed").exists()


def test_an_unknown_value_is_an_error_that_lists_the_valid_ones():
    with pytest.raises(ConfigurationError, match="'none' or 'imagenet'"):
        build("resnet18", (3, 64, 64), weights="cifar")
