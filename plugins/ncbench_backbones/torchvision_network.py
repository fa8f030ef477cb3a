"""What torchvision's networks have in common as backbones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ncbench import Backbone, ConfigurationError, WeightsFile
from ncbench_backbones.pretrained import WeightsParameters, loading, published_file

SMALL_IMAGE = 64
"""Residual and dense networks for images with a side below this many pixels begin without losing resolution."""


class TorchvisionNetwork(Backbone):
    """A network of torchvision without its classifier.

    `weights=imagenet` reads the file of torchvision's IMAGENET1K_V1 weights in the checkpoints folder of torch's hub;
    ``ncbench backbones fetch`` brings it. For images with one channel the first convolution's weights are summed over
    the colours, which is the same as repeating the image.

    Subclasses set `network` and `feature_dim` in their constructor.
    """

    Parameters = WeightsParameters

    name: ClassVar[str]
    constructor: ClassVar[Callable[..., Any]]
    imagenet: ClassVar[Any]
    """torchvision's entry for the pretrained weights."""
    first_convolution: ClassVar[str]
    """Where in the network the first convolution is."""

    network: nn.Module

    def __init__(self, image_shape: tuple[int, int, int], params: WeightsParameters) -> None:
        super().__init__(image_shape, params)
        self.pretrained = params.weights == "imagenet"
        self.spec = f"{self.name}:weights=imagenet" if self.pretrained else self.name

    @classmethod
    def weights_file(cls, params: WeightsParameters) -> WeightsFile | None:
        """Return torchvision's file."""
        return published_file(cls.imagenet.url) if params.weights == "imagenet" else None

    def forward(self, images: Tensor) -> Tensor:
        """Return the features: (N, C, H, W) -> (N, feature_dim)."""
        features: Tensor = self.network(images)
        return features

    def original(self, **arguments: Any) -> Any:
        """Return torchvision's network, random or pretrained, its first convolution fitted to the images' channels.

        Args:
            arguments: For torchvision's constructor.

        Raises:
            DataError: The file of weights is absent or damaged.
            ConfigurationError: Pretrained weights do not fit the images' channels.
        """
        channels = self.image_shape[0]
        if self.pretrained and channels not in (1, 3):
            raise ConfigurationError(f"{self.spec} takes images with 1 or 3 channels, and these have {channels}.")
        network = type(self).constructor(weights=None, **arguments)
        if self.pretrained:
            path = published_file(self.imagenet.url).path
            with loading(path, self.spec, self.name):
                state = torch.load(path, map_location="cpu", weights_only=True)
                network.load_state_dict({self.current_key(key): value for key, value in state.items()})
        if channels != 3:
            convolution = network.get_submodule(self.first_convolution)
            weight = convolution.weight.detach()
            if self.pretrained:
                weight = weight.sum(dim=1, keepdim=True)
            else:
                weight = weight.new_empty(len(weight), channels, *convolution.kernel_size)
                self.initialise(weight)
            convolution.in_channels = channels
            convolution.weight = nn.Parameter(weight)
        return network

    @staticmethod
    def initialise(weight: Tensor) -> None:
        """Draw a convolution's weight (outputs, inputs, k, k) in place, as torchvision does in this network."""
        nn.init.kaiming_normal_(weight, mode="fan_out", nonlinearity="relu")

    @staticmethod
    def current_key(key: str) -> str:
        """Return the network's key for a key of the file of pretrained weights."""
        return key
