"""torchvision's ResNets without their classifier, fitted to the size of the images."""

from __future__ import annotations

from torch import nn
from torchvision import models

from ncbench_backbones.limits import require_size
from ncbench_backbones.pretrained import WeightsParameters
from ncbench_backbones.torchvision_network import SMALL_IMAGE, TorchvisionNetwork


class TorchvisionResNet(TorchvisionNetwork):
    """A ResNet of torchvision (He et al., CVPR 2016) up to its global average pooling.

    Images of 64 pixels and more, and pretrained weights, take the original stem: a 7x7 convolution of stride 2, then
    max-pooling. Randomly initialised networks for smaller images begin with a 3x3 convolution of stride 1 and no
    pooling instead, as is usual for CIFAR, since the original stem leaves them a single position. The pretrained
    weights are those of the published experiments on Waterbirds and CelebA.

    The features are averages of values after a ReLU: 512 of ResNet-18 and ResNet-34, 2048 of ResNet-50. Images of at
    least 9 x 9 pixels, with pretrained weights 33 x 33.

    Raises:
        DataError: The file of weights is absent or damaged.
        ConfigurationError: The images are too small, or pretrained weights do not fit their channels.
    """

    first_convolution = "conv1"

    def __init__(self, image_shape: tuple[int, int, int], params: WeightsParameters) -> None:
        super().__init__(image_shape, params)
        channels, *sides = image_shape
        if self.pretrained or min(sides) >= SMALL_IMAGE:
            require_size(self.spec, image_shape, least=33)
            network = self.original()
        else:
            require_size(self.spec, image_shape, least=9)
            network = type(self).constructor(weights=None)
            network.conv1 = nn.Conv2d(channels, 64, 3, padding=1, bias=False)
            self.initialise(network.conv1.weight)
            network.maxpool = nn.Identity()
        self.feature_dim = network.fc.in_features
        network.fc = nn.Identity()
        self.network = network


class ResNet18(TorchvisionResNet):
    """torchvision's ResNet-18; see :class:`TorchvisionResNet`."""

    name = "resnet18"
    constructor = staticmethod(models.resnet18)
    imagenet = models.ResNet18_Weights.IMAGENET1K_V1


class ResNet34(TorchvisionResNet):
    """torchvision's ResNet-34; see :class:`TorchvisionResNet`."""

    name = "resnet34"
    constructor = staticmethod(models.resnet34)
    imagenet = models.ResNet34_Weights.IMAGENET1K_V1


class ResNet50(TorchvisionResNet):
    """torchvision's ResNet-50; see :class:`TorchvisionResNet`."""

    name = "resnet50"
    constructor = staticmethod(models.resnet50)
    imagenet = models.ResNet50_Weights.IMAGENET1K_V1
