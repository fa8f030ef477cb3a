"""The backbones: shapes, published architectures, too small images, and where pretrained weights come from."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torchvision import models

import ncbench_backbones
from ncbench import Backbone, ConfigurationError, DataError

CARDS = {card.name: card for card in ncbench_backbones.ncbench_backbones()}


def build(name: str, image_shape: tuple[int, int, int], **values: object) -> Backbone:
    factory = CARDS[name].load()
    torch.manual_seed(0)
    return factory(image_shape, factory.Parameters.build(values, owner=name))


def trainable(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)


# ResNet-50 shares its code with ResNet-18 and takes ten times as long, so it sees one shape of each stem.
SHAPES = [
    (name, image_shape)
    for name in sorted(CARDS)
    for image_shape in ([(3, 32, 32), (1, 28, 28), (3, 65, 40)] if name != "resnet50" else [(1, 16, 16), (3, 65, 40)])
]


@pytest.mark.parametrize(("name", "image_shape"), SHAPES)
def test_features_have_the_promised_shape_and_depend_on_every_pixel(name, image_shape):
    backbone = build(name, image_shape).eval()
    images = torch.randn(2, *image_shape, requires_grad=True)
    features = backbone(images)
    assert features.shape == (2, backbone.feature_dim)
    (gradient,) = torch.autograd.grad(features.pow(2).sum(), images)
    # A pixel may fall on a dead ReLU; whole rows and columns may not be ignored.
    assert bool((gradient.abs().sum(dim=(0, 1, 3)) > 0).all())
    assert bool((gradient.abs().sum(dim=(0, 1, 2)) > 0).all())


@pytest.mark.parametrize(("name", "side"), [("small_cnn", 8), ("resnet20", 8), ("resnet18", 9), ("resnet50", 9)])
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


def test_resnet20_shortcuts_are_identities_with_zeros_for_new_channels():
    backbone = build("resnet20", (3, 8, 8)).eval()
    block = backbone.blocks[3]  # the first of the second stage
    torch.nn.init.zeros_(block.norm2.weight)
    maps = torch.rand(1, 16, 8, 8)
    out = block(maps)
    assert torch.equal(out[:, :16], maps[:, :, ::2, ::2])
    assert out.shape == (1, 32, 4, 4)
    assert not out[:, 16:].any()


@pytest.mark.parametrize(("name", "constructor"), [("resnet18", models.resnet18), ("resnet50", models.resnet50)])
def test_large_images_get_torchvisions_network_without_its_classifier(name, constructor):
    backbone = build(name, (3, 64, 64)).eval()
    reference = constructor(weights=None).eval()
    reference.fc = torch.nn.Identity()
    reference.load_state_dict(backbone.network.state_dict())  # strict: the same layers and shapes
    images = torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(backbone(images), reference(images))


@pytest.mark.parametrize("image_shape", [(1, 64, 64), (5, 64, 64), (1, 32, 32)])
def test_a_new_first_convolution_is_initialised_as_torchvision_does(image_shape):
    weight = build("resnet18", image_shape).network.conv1.weight
    # He et al. (ICCV 2015), by the outputs a weight reaches: std = sqrt(2 / (64 k^2)).
    assert weight.std().item() == pytest.approx((2 / (64 * weight.shape[-1] ** 2)) ** 0.5, rel=0.15)


def test_small_images_keep_their_resolution_through_the_stem():
    backbone = build("resnet18", (3, 32, 32)).eval()
    maps = {}
    backbone.network.layer1.register_forward_hook(lambda module, inputs, output: maps.update(layer1=output))
    backbone(torch.randn(1, 3, 32, 32))
    assert maps["layer1"].shape == (1, 64, 32, 32)


class TestPretrained:
    @pytest.fixture
    def checkpoints(self, tmp_path, monkeypatch):
        monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
        folder = tmp_path / "checkpoints"
        folder.mkdir()
        return folder

    @pytest.fixture
    def reference(self, checkpoints):
        torch.manual_seed(1)
        network = models.resnet18(weights=None)
        torch.save(network.state_dict(), checkpoints / "resnet18-f37072fd.pth")
        return network.eval()

    def test_absent_weights_say_where_they_belong_and_how_to_do_without(self, checkpoints):
        with pytest.raises(DataError) as raised:
            build("resnet50", (3, 224, 224), weights="imagenet")
        message = str(raised.value)
        assert str(checkpoints / "resnet50-0676ba61.pth") in message
        assert "--backbone resnet50" in message
        assert "\n" not in message

    def test_weights_on_disk_are_loaded(self, reference):
        backbone = build("resnet18", (3, 40, 40), weights="imagenet").eval()
        reference.fc = torch.nn.Identity()
        images = torch.randn(2, 3, 40, 40)
        torch.testing.assert_close(backbone(images), reference(images))

    def test_grey_images_see_the_weights_summed_over_the_colours(self, reference):
        backbone = build("resnet18", (1, 40, 40), weights="imagenet").eval()
        reference.fc = torch.nn.Identity()
        images = torch.randn(2, 1, 40, 40)
        torch.testing.assert_close(backbone(images), reference(images.expand(-1, 3, -1, -1)), rtol=1e-4, atol=1e-5)

    def test_other_numbers_of_channels_are_refused(self, reference):
        with pytest.raises(ConfigurationError, match="1 or 3 channels, and these have 4"):
            build("resnet18", (4, 40, 40), weights="imagenet")

    @pytest.mark.parametrize("content", [b"", b"not a checkpoint"])
    def test_a_damaged_file_is_named(self, checkpoints, content):
        (checkpoints / "resnet18-f37072fd.pth").write_bytes(content)
        with pytest.raises(DataError, match=r"resnet18-f37072fd\.pth are damaged"):
            build("resnet18", (3, 64, 64), weights="imagenet")

    def test_weights_of_another_network_are_refused(self, checkpoints):
        torch.save(models.resnet34(weights=None).state_dict(), checkpoints / "resnet18-f37072fd.pth")
        with pytest.raises(DataError, match="not those of resnet18"):
            build("resnet18", (3, 64, 64), weights="imagenet")

    def test_pretrained_weights_need_images_for_the_original_stem(self, reference):
        with pytest.raises(ConfigurationError, match="resnet18:weights=imagenet needs images of at least 33 x 33"):
            build("resnet18", (3, 32, 32), weights="imagenet")

    def test_nothing_is_executed_from_a_weights_file(self, checkpoints, tmp_path):
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
