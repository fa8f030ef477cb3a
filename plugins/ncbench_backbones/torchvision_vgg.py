"""torchvision's VGGs with BatchNorm, without their classifier, fitted to the size of the images."""

from __future__ import annotations

from typing import ClassVar

from torch import nn
from torchvision import models

from ncbench_backbones.limits import require_size
from ncbench_backbones.pretrained import WeightsParameters
from ncbench_backbones.torchvision_network import TorchvisionNetwork

_FULL_IMAGE = 224  # leaves the 7 x 7 positions that the wide layers are for


class TorchvisionVGG(TorchvisionNetwork):
    """A VGG of torchvision (Simonyan and Zisserman, ICLR 2015) with BatchNorm after every convolution.

    Images of 224 pixels and more, and pretrained weights, take torchvision's network up to its last linear layer:
    the convolutions, two layers of 4096 units, and in training dropout of 1/2 after each. The features are the 4096
    values after the second ReLU, and its dropout.

    Randomly initialised networks for smaller images have no wide layers and no dropout: five stages of 3x3
    convolutions, each with BatchNorm and a ReLU, and each stage followed by 2x2 max-pooling, as torchvision's; then
    global average pooling. The features are these 512 averages. Pooling rounds odd sizes up instead of down, so that
    the five halvings of 28 pixels leave something; on multiples of 32 the maps are torchvision's.

    Images of at least 17 x 17 pixels, with pretrained weights 32 x 32.

    Raises:
        DataError: The file of weights is absent or damaged.
        ConfigurationError: The images are too small, or pretrained weights do not fit their channels.
    """

    first_convolution = "features.0"
    convolutions: ClassVar[tuple[int, int, int, int, int]]
    """Convolutions in each stage: configurations A, B, D and E of the paper."""

    def __init__(self, image_shape: tuple[int, int, int], params: WeightsParameters) -> None:
        super().__init__(image_shape, params)
        channels, *sides = image_shape
        if self.pretrained or min(sides) >= _FULL_IMAGE:
            require_size(self.spec, image_shape, least=32)
            network = self.original(init_weights=not self.pretrained)
            self.feature_dim = network.classifier[-1].in_features
            network.classifier[-1] = nn.Identity()
            self.network = network
        else:
            require_size(self.spec, image_shape, least=17)
            self.network = self._small(channels)
            self.feature_dim = 512

    def _small(self, channels: int) -> nn.Sequential:
        layers = nn.Sequential()
        for outputs, count in zip((64, 128, 256, 512, 512), self.convolutions, strict=True):
            for _ in range(count):
                convolution = nn.Conv2d(channels, outputs, 3, padding=1)
                self.initialise(convolution.weight)
                nn.init.zeros_(convolution.get_parameter("bias"))
                layers.extend([convolution, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)])
                channels = outputs
            layers.append(nn.MaxPool2d(2, ceil_mode=True))
        return layers.extend([nn.AdaptiveAvgPool2d(1), nn.Flatten()])


class VGG11(TorchvisionVGG):
    """torchvision's VGG-11 with BatchNorm; see :class:`TorchvisionVGG`."""

    name = "vgg11"
    constructor = staticmethod(models.vgg11_bn)
    imagenet = models.VGG11_BN_Weights.IMAGENET1K_V1
    convolutions = (1, 1, 2, 2, 2)


class VGG13(TorchvisionVGG):
    """torchvision's VGG-13 with BatchNorm; see :class:`TorchvisionVGG`."""

    name = "vgg13"
    constructor = staticmethod(models.vgg13_bn)
    imagenet = models.VGG13_BN_Weights.IMAGENET1K_V1
    convolutions = (2, 2, 2, 2, 2)


class VGG16(TorchvisionVGG):
    """torchvision's VGG-16 with BatchNorm; see :class:`TorchvisionVGG`."""

    name = "vgg16"
    constructor = staticmethod(models.vgg16_bn)
    imagenet = models.VGG16_BN_Weights.IMAGENET1K_V1
    convolutions = (2, 2, 3, 3, 3)


class VGG19(TorchvisionVGG):
    """torchvision's VGG-19 with BatchNorm; see :class:`TorchvisionVGG`."""

    name = "vgg19"
    constructor = staticmethod(models.vgg19_bn)
    imagenet = models.VGG19_BN_Weights.IMAGENET1K_V1
    convolutions = (2, 2, 4, 4, 4)
