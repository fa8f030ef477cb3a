"""Weights pretrained on ImageNet, from a file on this machine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import torch
from pydantic import Field, ValidationInfo, field_validator
from torch import nn

from ncbench import DataError, Parameters


class WeightsParameters(Parameters):
    """Parameters of every network that there are pretrained weights of."""

    weights: Literal["none", "imagenet"] = Field(
        "none",
        description="initial weights: random, or ImageNet's from a file on this machine (torchvision's IMAGENET1K_V1)",
    )
    frozen: bool = Field(
        False,
        description="whether the network stays as its weights are: it is run once over the data, without augmentation, "
        "and methods train on the features",
    )

    @field_validator("frozen")
    @classmethod
    def _only_with_weights(cls, frozen: bool, given: ValidationInfo) -> bool:
        if frozen and given.data.get("weights") == "none":
            raise ValueError("a frozen network needs weights=imagenet")
        return frozen


def load_weights(network: nn.Module, name: str, weights: Any, current_key: Callable[[str], str]) -> None:
    """Load pretrained weights from the checkpoints folder of torch's hub; nothing is downloaded.

    Args:
        network: As torchvision constructs it.
        name: Of the backbone, for messages.
        weights: torchvision's entry, whose address ends with the file's name.
        current_key: Maps a key of the file to the network's.

    Raises:
        DataError: The file is absent, cannot be read or belongs to another network.
    """
    path = Path(torch.hub.get_dir()) / "checkpoints" / Path(urlsplit(weights.url).path).name
    if not path.is_file():
        raise DataError(
            f"{name}:weights=imagenet needs the file {path}, which is not there. Put it there ({weights.url}), or run "
            f"without pretrained weights: --backbone {name}."
        )
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        network.load_state_dict({current_key(key): value for key, value in state.items()})
    except Exception as error:  # torch raises many types for a file that is truncated, foreign or of another network
        raise DataError(
            f"The weights in {path} are damaged or not those of {name}. Get the file again from {weights.url}."
        ) from error
