"""The ResNet with 20 layers for CIFAR."""

from __future__ import annotations

from typing import Any, Literal

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from ncbench import Backbone, Parameters
from ncbench_backbones.limits import require_size

_BLOCKS_A_STAGE = 3  # n of He et al., section 4.2: 6 n + 2 = 20 layers with the classifier


class ResNet20Parameters(Parameters):
    """Parameters of :class:`ResNet20`."""

    classifier: Literal["default", "he"] = Field(
        "default", description="how the classifier's weights are drawn: as PyTorch does, or as in He et al. (2015)"
    )


class ResNet20(Backbone):
    """He et al. (CVPR 2016), section 4.2: a 3x3 convolution, three stages of 16, 32 and 64 channels, average pooling.

    Every stage has three blocks of two 3x3 convolutions; the second and the third stage begin with stride 2. All
    shortcuts are free of parameters (option A): where the size changes, every other position, with zeros for the new
    channels. Convolutions are initialised as in He et al. (ICCV 2015), and with `classifier` "he" so are linear
    classifiers on the features: the network that Learning from Failure (Nam et al., NeurIPS 2020) released for
    Corrupted CIFAR-10 draws its own so, with a standard deviation of 0.177 where PyTorch's is 0.072. Features: 64
    averages of values after a ReLU. Images of at least 8 x 8 pixels.
    """

    Parameters = ResNet20Parameters
    feature_dim = 64

    def __init__(self, image_shape: tuple[int, int, int], params: Any) -> None:
        super().__init__(image_shape, params)
        require_size("resnet20", image_shape, least=8)
        self.stem = nn.Sequential(
            nn.Conv2d(image_shape[0], 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU()
        )
        self.blocks = nn.Sequential()
        channels = 16
        for outputs in (16, 32, 64):
            for _ in range(_BLOCKS_A_STAGE):
                self.blocks.append(Block(channels, outputs))
                channels = outputs
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)

    def init_classifier(self, classifier: nn.Linear) -> None:
        """Draw the weights as the parameter `classifier` says."""
        if self.params.classifier == "he":
            nn.init.kaiming_normal_(classifier.weight)

    def forward(self, images: Tensor) -> Tensor:
        """Return the features: (N, C, H, W) -> (N, 64)."""
        maps: Tensor = self.blocks(self.stem(images))  # (N, 64, H / 4, W / 4)
        return maps.mean(dim=(2, 3))


class Block(nn.Module):
    """Two 3x3 convolutions and a shortcut; stride 2 where the number of channels grows.

    Args:
        inputs: Channels that come in.
        outputs: Channels that go out, `inputs` or more.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.stride = 1 if inputs == outputs else 2
        self.new_channels = outputs - inputs
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=self.stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)

    def forward(self, maps: Tensor) -> Tensor:
        """Return (N, inputs, H, W) -> (N, outputs, H / stride, W / stride), rounded up."""
        residual = self.norm2(self.conv2(F.relu(self.norm1(self.conv1(maps)))))
        shortcut = F.pad(maps[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.new_channels))
        return F.relu(shortcut + residual)
