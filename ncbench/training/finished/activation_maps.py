"""Class-activation maps: which parts of an image speak for a class, of networks that end in a map of features."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ncbench.contracts.errors import ConfigurationError
from ncbench.training.finished.model import TrainedModel


def activation_maps(model: TrainedModel, images: np.ndarray) -> np.ndarray | None:
    """Return where a network sees what it predicts: Grad-CAM of its last map of features (Selvaraju et al. 2017).

    Args:
        model: A finished run's.
        images: (N, H, W, C) uint8, of the shape of the dataset's.

    Returns:
        (N, H, W) float32, of each image from 0, where nothing speaks for the prediction, to 1, or 0 throughout; None
        of a network that is no convolutional one.

    Raises:
        ConfigurationError: The package grad-cam is not installed.
    """
    network = _Logits(model)
    inputs = torch.cat([batch for batch, _ in model.batches(images)]).requires_grad_()  # also where weights are frozen
    layer = _last_map(network, inputs[:1])
    if layer is None:
        return None
    try:
        library = importlib.import_module("pytorch_grad_cam")
    except ImportError as error:  # of a library that it needs, too
        raise ConfigurationError(
            f"Class-activation maps take the package grad-cam ({error}): pip install 'ncbench[cam]'"
        ) from error
    with library.GradCAM(network, [layer]) as cam:
        maps: np.ndarray = cam(inputs, None)
    return np.nan_to_num(maps.astype(np.float32))


class _Logits(nn.Module):
    """The whole network of a run, from scaled images to logits."""

    def __init__(self, model: TrainedModel) -> None:
        super().__init__()
        self.model, self.method = model, model.method
        if model.backbone is not None:
            self.backbone = model.backbone

    def forward(self, inputs: Tensor) -> Tensor:
        return self.model.logits(inputs)


def _last_map(network: nn.Module, inputs: Tensor) -> nn.Module | None:
    """Return the module whose output is the last map of features before they are pooled or laid out in a row."""
    outputs: list[tuple[nn.Module, torch.Size]] = []

    def note(module: nn.Module, given: Any, output: Any) -> None:
        if isinstance(output, Tensor):
            outputs.append((module, output.shape))

    handles = [module.register_forward_hook(note) for module in network.modules()]
    try:
        logits = network(inputs)
    finally:
        for handle in handles:
            handle.remove()
    found = [module for module, shape in outputs if len(shape) == 4 and shape[2] * shape[3] > 1]
    # Tokens, as of transformers, are no map; what lies before them says little of what is made of them.
    tokens = any(len(shape) == 3 for _, shape in outputs)
    return None if not found or tokens or not logits.requires_grad else found[-1]
