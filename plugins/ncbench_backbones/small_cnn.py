"""A small convolutional network for small images."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor, nn

from ncbench import Backbone, Parameters
from ncbench_backbones.limits import require_size


class SmallCNNParameters(Parameters):
    """Parameters of :class:`SmallCNN`."""

    width: int = Field(32, ge=1, description="channels of the first convolution; the others have 2 and 4 times as many")


class SmallCNN(Backbone):
    """[3x3 convolution, BatchNorm, ReLU] three times, 2x2 max-pooling after the first two, global average pooling.

    The features are 4 * width averages of values after a ReLU. Images of at least 8 x 8 pixels.
    """

    Parameters = SmallCNNParameters

    def __init__(self, image_shape: tuple[int, int, int], params: SmallCNNParameters) -> None:
        super().__init__(image_shape, params)
        require_size("small_cnn", image_shape, least=8)
        width = params.width
        self.layers = nn.Sequential(
            *_convolution(image_shape[0], width),
            nn.MaxPool2d(2),
            *_convolution(width, 2 * width),
            nn.MaxPool2d(2),
            *_convolution(2 * width, 4 * width),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        )
        self.feature_dim = 4 * width

    def forward(self, images: Tensor) -> Tensor:
        """Return the features: (N, C, H, W) -> (N, 4 * width)."""
        features: Tensor = self.layers(images)
        return features


def _convolution(inputs: int, outputs: int) -> list[nn.Module]:
    # BatchNorm has a bias of its own.
    return [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]
