"""Every backbone's features, seeds and limits, and the published architectures of those written here."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from ncbench import ConfigurationError
from tests.backbones.cards import CARDS, MODULES, ONE_OF_EACH, among_slow, build, build_shapes, trainable

# ufm sees numbers: test_ufm.py; efficientnet_lite0 and timm are of extras: test_efficientnet_lite.py, test_timm.py.
IMAGE_BACKBONES = [name for name in CARDS if name not in ("ufm", "efficientnet_lite0", "timm")]


def image_shapes(name: str) -> list[tuple[int, int, int]]:
    """Return sizes to try; for torchvision's networks at 224 x 224 see test_torchvision_networks.py."""
    if name == "vit_b_16":
        return [(3, 32, 32), (1, 48, 48)]
    return [(3, 32, 32), (1, 28, 28), *([(3, 65, 40)] if name in ONE_OF_EACH else [])]


@pytest.mark.parametrize(
    ("name", "image_shape"), [(name, image_shape) for name in IMAGE_BACKBONES for image_shape in image_shapes(name)]
)
def test_features_have_the_promised_shape_and_depend_on_every_pixel(name, image_shape):
    backbone = build(name, image_shape).eval()
    images = torch.randn(2, *image_shape, requires_grad=True)
    features = backbone(images)
    assert features.shape == (2, backbone.feature_dim)
    (gradient,) = torch.autograd.grad(features.pow(2).sum(), images)
    # A pixel may fall on a dead ReLU; whole rows and columns may not be ignored.
    assert bool((gradient.abs().sum(dim=(0, 1, 3)) > 0).all())
    assert bool((gradient.abs().sum(dim=(0, 1, 2)) > 0).all())


@pytest.mark.parametrize("name", CARDS)
def test_vectors_are_taken_or_refused_in_one_line(name):
    if name == "timm":
        pytest.importorskip("timm")
    if CARDS[name].load().takes_vectors:
        backbone = build(name, (12,)).eval()
        assert backbone(torch.rand(2, 12)).shape == (2, backbone.feature_dim)
    else:
        with pytest.raises(ConfigurationError, match=r"vectors of 12 values\. Use --backbone mlp") as caught:
            build(name, (12,))
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", among_slow(IMAGE_BACKBONES))
def test_a_seed_determines_the_weights(name):
    first, again, other = (build(name, (1, 32, 32), seed=seed).state_dict() for seed in (0, 0, 1))
    assert first.keys() == again.keys()
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not first or any(not torch.equal(first[key], other[key]) for key in first)  # identity learns nothing


# Smaller images would leave BatchNorm a single position to normalise over. mlp and vit_b_16 have none.
SMALLEST = {
    **{"small_cnn": 8, "resnet20": 8, "wide_resnet": 5},
    **{"torchvision_resnet": 9, "torchvision_vgg": 17, "torchvision_densenet": 16},
}


@pytest.mark.parametrize(("name", "side"), [(name, SMALLEST[m]) for name, m in MODULES.items() if m in SMALLEST])
def test_the_smallest_images_train_in_a_batch_of_one_and_smaller_ones_are_refused(name, side):
    backbone = build(name, (3, side, side)).train()
    assert torch.isfinite(backbone(torch.randn(1, 3, side, side))).all()
    with pytest.raises(ConfigurationError, match=f"{name} needs images of at least {side} x {side} pixels"):
        build(name, (3, side, side - 1))


def test_mlp_is_the_published_network():
    backbone = build("mlp", (3, 28, 28))
    # Three layers with 100 units on 3 * 28 * 28 inputs.
    assert trainable(backbone) == 2352 * 100 + 100 + 2 * (100 * 100 + 100)
    images = torch.rand(5, 3, 28, 28)
    h = images.flatten(1)
    weights = list(backbone.parameters())
    for weight, bias in zip(weights[::2], weights[1::2], strict=True):
        h = F.relu(F.linear(h, weight, bias))
    torch.testing.assert_close(backbone(images), h)


def test_mlp_width_and_depth():
    backbone = build("mlp", (1, 4, 4), hidden=7, depth=1)
    assert backbone.feature_dim == 7
    assert trainable(backbone) == 16 * 7 + 7


def test_resnet20_has_the_published_number_of_parameters():
    # He et al., table 6: 0.27 M with the classifier. Counted by hand: convolutions and two numbers a BatchNorm channel.
    convolutions = 27 * 16 + 6 * 9 * 16 * 16 + 9 * 16 * 32 + 5 * 9 * 32 * 32 + 9 * 32 * 64 + 5 * 9 * 64 * 64
    norms = 2 * (7 * 16 + 6 * 32 + 6 * 64)
    backbone = build("resnet20", (3, 32, 32))
    assert trainable(backbone) == convolutions + norms
    assert round((trainable(backbone) + 64 * 10 + 10) / 1e6, 2) == 0.27
    assert sum(isinstance(module, torch.nn.Conv2d) for module in backbone.modules()) == 19


def test_resnet20_draws_its_classifier_as_released_where_that_is_asked_for():
    plain, drawn = torch.nn.Linear(64, 500), torch.nn.Linear(64, 500)
    drawn.load_state_dict(plain.state_dict())
    build("resnet20", (3, 32, 32)).init_classifier(drawn)
    assert torch.equal(drawn.weight, plain.weight)
    build("resnet20", (3, 32, 32), classifier="he").init_classifier(drawn)
    assert drawn.weight.std().item() == pytest.approx((2 / 64) ** 0.5, rel=0.02)  # kaiming_normal_: 0.177
    assert torch.equal(drawn.bias, plain.bias)


def test_resnet20_shortcuts_are_identities_with_zeros_for_new_channels():
    backbone = build("resnet20", (3, 8, 8)).eval()
    block = backbone.blocks[3]  # the first of the second stage
    torch.nn.init.zeros_(block.norm2.weight)
    maps = torch.rand(1, 16, 8, 8)
    out = block(maps)
    assert torch.equal(out[:, :16], maps[:, :, ::2, ::2])
    assert out.shape == (1, 32, 4, 4)
    assert not out[:, 16:].any()


@pytest.mark.parametrize(
    ("depth", "width", "millions"),
    [(40, 1, 0.6), (40, 2, 2.2), (40, 4, 8.9), (16, 8, 11.0), (22, 8, 17.2), (28, 10, 36.5), (28, 12, 52.5)],
)
def test_wide_resnet_has_the_published_number_of_parameters(depth, width, millions):
    # Zagoruyko and Komodakis, the tables of networks for CIFAR-10: with the classifier.
    backbone = build_shapes("wide_resnet", (3, 32, 32), depth=depth, width=width)
    assert backbone.feature_dim == 64 * width
    assert round((trainable(backbone) + 64 * width * 10 + 10) / 1e6, 1) == millions
    convolutions = sum(isinstance(module, torch.nn.Conv2d) for module in backbone.modules())
    assert convolutions == (depth if width > 1 else depth - 1)  # of width 1, the first stage needs no projection


def test_wide_resnet_is_28_8_by_default():
    # Counted by hand: the first convolution; each stage's 3x3 and 1x1 convolutions; two numbers a BatchNorm channel.
    convolutions = 27 * 16 + sum(9 * (a * b + 7 * b * b) + a * b for a, b in [(16, 128), (128, 256), (256, 512)])
    norms = 2 * sum(a + 7 * b for a, b in [(16, 128), (128, 256), (256, 512)]) + 2 * 512
    backbone = build_shapes("wide_resnet", (3, 32, 32))
    assert trainable(backbone) == convolutions + norms
    assert round((trainable(backbone) + 512 * 100 + 100) / 1e6, 1) == 23.4


@pytest.mark.parametrize("index", [1, 2])  # the first block projects, after its activation; the second does not
def test_a_wide_resnet_block_is_activated_before_its_convolutions(index):
    block = build("wide_resnet", (3, 8, 8), depth=16, width=2).layers[index].double()
    norm1, norm2 = block.activation[0], block.residual[1]
    conv1, conv2 = block.residual[0].weight, block.residual[3].weight
    for norm in (norm1, norm2):
        torch.nn.init.normal_(norm.weight)
        torch.nn.init.normal_(norm.bias)
    maps = torch.randn(4, conv1.shape[1], 6, 6, dtype=torch.float64)

    def activated(x, norm):
        centred = x - x.mean(dim=(0, 2, 3), keepdim=True)
        x = centred / (centred.square().mean(dim=(0, 2, 3), keepdim=True) + norm.eps).sqrt()
        return (x * norm.weight[:, None, None] + norm.bias[:, None, None]).clamp_min(0)

    first = activated(maps, norm1)
    shortcut = maps if index == 2 else F.conv2d(first, block.projection.weight)
    residual = F.conv2d(activated(F.conv2d(first, conv1, padding=1), norm2), conv2, padding=1)
    torch.testing.assert_close(block(maps), shortcut + residual)


def test_wide_resnet_halves_the_maps_at_the_second_and_the_third_stage():
    backbone = build("wide_resnet", (3, 16, 16), depth=16, width=1).eval()
    maps, shapes = torch.randn(1, 3, 16, 16), []
    for layer in backbone.layers[:7]:
        maps = layer(maps)
        shapes.append(tuple(maps.shape[1:]))
    assert shapes == [(16, 16, 16), (16, 16, 16), (16, 16, 16), (32, 8, 8), (32, 8, 8), (64, 4, 4), (64, 4, 4)]


@pytest.mark.parametrize("depth", [9, 27, 29])
def test_a_depth_without_whole_blocks_is_refused(depth):
    with pytest.raises(ConfigurationError, match="'depth' of wide_resnet is not valid"):
        build("wide_resnet", (3, 32, 32), depth=depth)
