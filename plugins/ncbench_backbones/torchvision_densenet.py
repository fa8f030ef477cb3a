"""torchvision's DenseNets without their classifier, fitted to the size of the images."""

from __future__ import annotations

import re

from torch import Tensor, nn
from torchvision import models

from ncbench_backbones.limits import require_size
from ncbench_backbones.pretrained import WeightsParameters
from ncbench_backbones.torchvision_network import SMALL_IMAGE, TorchvisionNetwork


class TorchvisionDenseNet(TorchvisionNetwork):
    """A DenseNet of torchvision (Huang et al., CVPR 2017; bottlenecks, growth 32) up to its global average pooling.

    Images of 64 pixels and more, and pretrained weights, take the original stem: a 7x7 convolution of stride 2, then
    max-pooling. Randomly initialised networks for smaller images begin with a 3x3 convolution of stride 1 and no
    pooling instead; all else is torchvision's, three halvings between four dense blocks. There is no dropout.

    The features are averages of values after a ReLU: 1024 of DenseNet-121, 1664 of DenseNet-169, 1920 of DenseNet-201.
    Images of at least 16 x 16 pixels, with pretrained weights 61 x 61.

    Raises:
        DataError: The file of weights is absent or damaged.
        ConfigurationError: The images are too small, or pretrained weights do not fit their channels.
    """

    first_convolution = "features.conv0"

    def __init__(self, image_shape: tuple[int, int, int], params: WeightsParameters) -> None:
        super().__init__(image_shape, params)
        channels, *sides = image_shape
        if self.pretrained or min(sides) >= SMALL_IMAGE:
            require_size(self.spec, image_shape, least=61)
            network = self.original()
        else:
            require_size(self.spec, image_shape, least=16)
            network = type(self).constructor(weights=None)
            network.features.conv0 = nn.Conv2d(channels, 64, 3, padding=1, bias=False)
            self.initialise(network.features.conv0.weight)
            network.features.pool0 = nn.Identity()
        self.feature_dim = network.classifier.in_features
        network.classifier = nn.Identity()
        self.network = network

    @staticmethod
    def initialise(weight: Tensor) -> None:
        """Draw a convolution's weight (outputs, inputs, k, k) in place, as torchvision does in this network."""
        nn.init.kaiming_normal_(weight)

    @staticmethod
    def current_key(key: str) -> str:
        """Return ``denselayer1.norm1.weight`` for the files' ``denselayer1.norm.1.weight``: they are older."""
        return re.sub(r"(denselayer\d+\.(?:norm|conv))\.(\d\.)", r"\1\2", key)


class DenseNet121(TorchvisionDenseNet):
    """torchvision's DenseNet-121; see :class:`TorchvisionDenseNet`."""

    name = "densenet121"
    constructor = staticmethod(models.densenet121)
    imagenet = models.DenseNet121_Weights.IMAGENET1K_V1


class DenseNet169(TorchvisionDenseNet):
    """torchvision's DenseNet-169; see :class:`TorchvisionDenseNet`."""

    name = "densenet169"
    constructor = staticmethod(models.densenet169)
    imagenet = models.DenseNet169_Weights.IMAGENET1K_V1


class DenseNet201(TorchvisionDenseNet):
    """torchvision's DenseNet-201; see :class:`TorchvisionDenseNet`."""

    name = "densenet201"
    constructor = staticmethod(models.densenet201)
    imagenet = models.DenseNet201_Weights.IMAGENET1K_V1
