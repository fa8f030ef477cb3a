"""torchvision's networks as backbones: which layers they keep, and what small images change."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from ncbench import ConfigurationError
from tests.backbones.cards import CARDS, MODULES, TORCHVISION, build, build_shapes, trainable

RESNETS, DENSENETS, VGGS = (
    [name for name in TORCHVISION if MODULES[name] == module]
    for module in ("torchvision_resnet", "torchvision_densenet", "torchvision_vgg")
)


@pytest.mark.parametrize(
    ("name", "side"), [("resnet18", 224), ("resnet50", 64), ("vgg11", 224), ("densenet121", 224), ("vit_b_16", 224)]
)
def test_large_images_get_torchvisions_network_without_its_classifier(name, side):
    backbone = build(name, (3, side, side)).eval()
    with torch.device("meta"):
        reference = CARDS[name].load().constructor(weights=None).eval()
    *_, classifier = (path for path, module in reference.named_modules() if isinstance(module, nn.Linear))
    keys = reference.load_state_dict(backbone.network.state_dict(), strict=False, assign=True)
    assert keys.missing_keys == [f"{classifier}.weight", f"{classifier}.bias"]
    assert not keys.unexpected_keys
    parent, _, attribute = classifier.rpartition(".")
    setattr(reference.get_submodule(parent), attribute, nn.Identity())
    images = torch.randn(2, 3, side, side)
    with torch.no_grad():
        features = backbone(images)
        assert features.shape == (2, backbone.feature_dim)
        torch.testing.assert_close(features, reference(images))


@pytest.mark.parametrize("name", TORCHVISION)
def test_with_a_classifier_it_has_the_number_of_parameters_torchvision_publishes(name):
    backbone = build_shapes(name, (3, 224, 224))
    assert trainable(backbone) + 1000 * backbone.feature_dim + 1000 == CARDS[name].load().imagenet.meta["num_params"]


@pytest.mark.parametrize("name", RESNETS + DENSENETS)
def test_small_images_change_the_first_convolution_alone(name):
    large, small = (
        {key: value.shape for key, value in build_shapes(name, (3, side, side)).state_dict().items()}
        for side in (64, 63)
    )
    assert large.keys() == small.keys()
    changed = {key: (large[key], small[key]) for key in large if large[key] != small[key]}
    first = f"network.{CARDS[name].load().first_convolution}.weight"
    assert changed == {first: ((64, 3, 7, 7), (64, 3, 3, 3))}


@pytest.mark.parametrize(("name", "stage"), [("resnet18", "layer1"), ("densenet121", "features.denseblock1")])
def test_small_images_keep_their_resolution_through_the_stem(name, stage):
    backbone = build(name, (3, 32, 32)).eval()
    maps = []
    backbone.network.get_submodule(stage).register_forward_hook(lambda module, inputs, output: maps.append(output))
    backbone(torch.randn(1, 3, 32, 32))
    assert maps[0].shape[2:] == (32, 32)


@pytest.mark.parametrize("name", VGGS)
def test_a_vgg_for_small_images_has_torchvisions_convolutions_and_averages(name):
    with torch.device("meta"):
        reference = CARDS[name].load().constructor(weights=None).features
    features = reference.to_empty(device="cpu")
    backbone = build(name, (3, 64, 64)).eval()
    features.load_state_dict(backbone.network.state_dict())  # strict: the same layers and shapes
    images = torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(backbone(images), features.eval()(images).mean(dim=(2, 3)))


@pytest.mark.parametrize(
    ("name", "image_shape", "variance"),
    [
        # He et al. (ICCV 2015), by the outputs a weight reaches: 2 / (64 k^2)
        ("resnet18", (1, 64, 64), 2 / (64 * 49)),
        ("resnet18", (5, 64, 64), 2 / (64 * 49)),
        ("resnet18", (1, 32, 32), 2 / (64 * 9)),
        ("vgg11", (1, 32, 32), 2 / (64 * 9)),
        # by its inputs: 2 / (C k^2)
        ("densenet121", (5, 64, 64), 2 / (5 * 49)),
        ("densenet121", (1, 32, 32), 2 / 9),
        # 1 / (C k^2)
        ("vit_b_16", (1, 32, 32), 1 / 256),
    ],
)
def test_a_new_first_convolution_is_initialised_as_torchvision_does(name, image_shape, variance):
    backbone = build(name, image_shape)
    first = next(module for module in backbone.modules() if isinstance(module, nn.Conv2d))
    assert first.in_channels == image_shape[0]
    assert first.weight.var().item() == pytest.approx(variance, rel=0.3)
    assert first.bias is None or not first.bias.any()


@pytest.mark.parametrize("image_shape", [(1, 28, 28), (3, 32, 48), (3, 40, 40)])
def test_a_vision_transformer_takes_whole_square_patches(image_shape):
    _, height, width = image_shape
    with pytest.raises(ConfigurationError, match=f"vit_b_16 needs square .* multiple of 16 .* {height} x {width}"):
        build("vit_b_16", image_shape)


def test_a_vision_transformer_has_a_position_for_every_patch_and_the_class_token():
    backbone = build_shapes("vit_b_16", (3, 64, 64))
    assert backbone.network.encoder.pos_embedding.shape == (1, 4 * 4 + 1, 768)
