"""torchvision's vision transformer without its classifier."""

from __future__ import annotations

from torch import Tensor, nn
from torchvision import models

from ncbench import ConfigurationError
from ncbench_backbones.pretrained import WeightsParameters
from ncbench_backbones.torchvision_network import TorchvisionNetwork

_PATCH = 16
_PRETRAINED = 224


class ViTB16(TorchvisionNetwork):
    """torchvision's ViT-B/16 (Dosovitskiy et al., ICLR 2021) up to its final LayerNorm.

    The image is cut into patches of 16 x 16 pixels, each with a learned embedding of its position, so images are
    square, their side a multiple of 16, and all of one size; pretrained weights are for 224 x 224 pixels alone. The
    features are the class token's 768 values after the LayerNorm; no nonlinearity follows it.

    Raises:
        DataError: The file of weights is absent or damaged.
        ConfigurationError: The images are of another size, or pretrained weights do not fit their channels.
    """

    name = "vit_b_16"
    constructor = staticmethod(models.vit_b_16)
    imagenet = models.ViT_B_16_Weights.IMAGENET1K_V1
    first_convolution = "conv_proj"

    def __init__(self, image_shape: tuple[int, int, int], params: WeightsParameters) -> None:
        super().__init__(image_shape, params)
        _, height, width = image_shape
        if self.pretrained and (height, width) != (_PRETRAINED, _PRETRAINED):
            raise ConfigurationError(
                f"{self.spec} needs images of {_PRETRAINED} x {_PRETRAINED} pixels, and these have {height} x {width}. "
                "Use images of that size or another backbone."
            )
        if height != width or height % _PATCH:
            raise ConfigurationError(
                f"{self.spec} needs square images whose side is a multiple of {_PATCH} pixels, and these have "
                f"{height} x {width}. Use images of such a size or another backbone."
            )
        network = self.original(image_size=height)
        self.feature_dim = network.hidden_dim
        network.heads = nn.Identity()
        self.network = network

    @staticmethod
    def initialise(weight: Tensor) -> None:
        """Draw a convolution's weight (outputs, inputs, k, k) in place, as torchvision does in this network."""
        nn.init.trunc_normal_(weight, std=weight[0].numel() ** -0.5)
