"""torchvision's ResNets without their classifier, fitted to the size of the images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Literal
from urllib.parse import urlsplit

import torch
from pydantic import Field
from torch import Tensor, nn
from torchvision import models

from ncbench import Backbone, ConfigurationError, DataError, Parameters
from ncbench_backbones.limits import require_size

SMALL_IMAGE = 64
"""Images with a side below this many pixels get the stem for small images."""


class ResNetParameters(Parameters):
    """Parameters of :class:`ResNet18` and :class:`ResNet50`."""

    weights: Literal["none", "imagenet"] = Field(
        "none", description="initial weights: random, or torchvision's IMAGENET1K_V1 from a file on this machine"
    )


class TorchvisionResNet(Backbone):
    """A ResNet of torchvision up to its global average pooling.

    Images of 64 pixels and more, and pretrained weights, take the original stem: a 7x7 convolution of stride 2, then
    max-pooling. Randomly initialised networks for smaller images begin with a 3x3 convolution of stride 1 and no
    pooling instead, as is usual for CIFAR, since the original stem leaves them a single position.

    `weights=imagenet` reads the file of torchvision's IMAGENET1K_V1 weights, those of the published experiments on
    Waterbirds and CelebA, in the checkpoints folder of torch's hub; nothing is downloaded. For images with one
    channel the first convolution's weights are summed over the colours, which is the same as repeating the image.

    Raises:
        DataError: The file of weights is absent or damaged.
        ConfigurationError: The images are too small, or pretrained weights do not fit their channels.
    """

    Parameters = ResNetParameters

    name: ClassVar[str]
    constructor: ClassVar[Callable[..., models.ResNet]]
    imagenet: ClassVar[Any]
    """torchvision's entry for the pretrained weights."""

    def __init__(self, image_shape: tuple[int, int, int], params: ResNetParameters) -> None:
        super().__init__(image_shape, params)
        channels, *sides = image_shape
        pretrained = params.weights == "imagenet"
        small = not pretrained and min(sides) < SMALL_IMAGE
        spec = f"{self.name}:weights=imagenet" if pretrained else self.name
        require_size(spec, image_shape, least=9 if small else 33)
        network = type(self).constructor(weights=None)
        if pretrained:
            if channels not in (1, 3):
                raise ConfigurationError(f"{spec} takes images with 1 or 3 channels, and these have {channels}.")
            load_weights(network, self.name, self.imagenet)
            if channels == 1:
                network.conv1 = grey_convolution(network.conv1)
        elif small:
            network.conv1 = _initialised(nn.Conv2d(channels, 64, 3, padding=1, bias=False))
            network.maxpool = nn.Identity()
        elif channels != 3:
            network.conv1 = _initialised(nn.Conv2d(channels, 64, 7, stride=2, padding=3, bias=False))
        self.feature_dim = network.fc.in_features
        network.fc = nn.Identity()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """Return the features: (N, C, H, W) -> (N, 512) for ResNet-18, (N, 2048) for ResNet-50."""
        features: Tensor = self.network(images)
        return features


class ResNet18(TorchvisionResNet):
    """torchvision's ResNet-18; see :class:`TorchvisionResNet`."""

    name = "resnet18"
    constructor = staticmethod(models.resnet18)
    imagenet = models.ResNet18_Weights.IMAGENET1K_V1


class ResNet50(TorchvisionResNet):
    """torchvision's ResNet-50; see :class:`TorchvisionResNet`."""

    name = "resnet50"
    constructor = staticmethod(models.resnet50)
    imagenet = models.ResNet50_Weights.IMAGENET1K_V1


def load_weights(network: models.ResNet, name: str, weights: Any) -> None:
    """Load pretrained weights from the checkpoints folder of torch's hub.

    Args:
        network: As torchvision constructs it.
        name: Of the backbone, for messages.
        weights: torchvision's entry, whose address ends with the file's name.

    Raises:
        DataError: The file is absent, cannot be read or belongs to another network.
    """
    path = Path(torch.hub.get_dir()) / "checkpoints" / Path(urlsplit(weights.url).path).name
    if not path.is_file():
        raise DataError(
            f"{name}:weights=imagenet needs the file {path}, which is not there. Put it there ({weights.url}), or run "
            f"without pretrained weights: --backbone {name}."
        )
    try:
        network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    except Exception as error:  # torch raises many types for a file that is truncated, foreign or of another network
        raise DataError(
            f"The weights in {path} are damaged or not those of {name}. Get the file again from {weights.url}."
        ) from error


def grey_convolution(convolution: nn.Conv2d) -> nn.Conv2d:
    """Return the first convolution for images with one channel, as if it were repeated over three."""
    new = nn.Conv2d(1, convolution.out_channels, 7, stride=2, padding=3, bias=False)
    with torch.no_grad():
        new.weight.copy_(convolution.weight.sum(dim=1, keepdim=True))
    return new


def _initialised(convolution: nn.Conv2d) -> nn.Conv2d:
    nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")  # as torchvision does
    return convolution
