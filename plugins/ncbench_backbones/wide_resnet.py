"""The wide residual network for CIFAR."""

from __future__ import annotations

from pydantic import Field, field_validator
from pydantic_core import PydanticCustomError
from torch import Tensor, nn

from ncbench import Backbone, Parameters
from ncbench_backbones.limits import require_size


class WideResNetParameters(Parameters):
    """Parameters of :class:`WideResNet`."""

    depth: int = Field(28, ge=10, description="number of layers, the convolutions of shortcuts among them")
    width: int = Field(8, ge=1, description="widening factor: the stages have 16, 32 and 64 times as many channels")

    @field_validator("depth")
    @classmethod
    def _whole_blocks(cls, depth: int) -> int:
        if depth % 6 != 4:
            raise PydanticCustomError("depth", "it must be 6 n + 4, such as 16, 22, 28 or 40")
        return depth


class WideResNet(Backbone):
    """WRN-depth-width of Zagoruyko and Komodakis (BMVC 2016), by default WRN-28-8, without dropout.

    A 3x3 convolution with 16 channels, then three stages of (depth - 4) / 6 pre-activation blocks with 16, 32 and 64
    times `width` channels, the second and the third stage beginning with stride 2; then BatchNorm, a ReLU and global
    average pooling. Convolutions have no bias and are initialised as in He et al. (ICCV 2015), by their outputs.

    The features are 64 * width averages of values after a ReLU. Images of at least 5 x 5 pixels.
    """

    Parameters = WideResNetParameters

    def __init__(self, image_shape: tuple[int, int, int], params: WideResNetParameters) -> None:
        super().__init__(image_shape, params)
        require_size("wide_resnet", image_shape, least=5)
        channels = 16
        self.layers = nn.Sequential(nn.Conv2d(image_shape[0], channels, 3, padding=1, bias=False))
        for outputs, first_stride in ((16, 1), (32, 2), (64, 2)):
            for block in range((params.depth - 4) // 6):
                stride = 1 if block else first_stride
                self.layers.append(Block(channels, outputs * params.width, stride))
                channels = outputs * params.width
        self.layers.extend([nn.BatchNorm2d(channels), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten()])
        self.feature_dim = channels
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> Tensor:
        """Return the features: (N, C, H, W) -> (N, 64 * width)."""
        features: Tensor = self.layers(images)
        return features


class Block(nn.Module):
    """[BatchNorm, ReLU, 3x3 convolution] twice and a shortcut around the two convolutions.

    Where the number of channels changes, the shortcut is a 1x1 convolution of what follows the first ReLU; elsewhere
    it is the block's input as it came in.

    Args:
        inputs: Channels that come in.
        outputs: Channels that go out.
        stride: Of the first convolution, and of the shortcut's.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.activation = nn.Sequential(nn.BatchNorm2d(inputs), nn.ReLU(inplace=True))
        self.residual = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
        )
        self.projection = nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False) if inputs != outputs else None

    def forward(self, maps: Tensor) -> Tensor:
        """Return (N, inputs, H, W) -> (N, outputs, H / stride, W / stride), rounded up."""
        activated = self.activation(maps)
        shortcut = maps if self.projection is None else self.projection(activated)
        total: Tensor = shortcut + self.residual(activated)
        return total
