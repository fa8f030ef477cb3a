"""Weights pretrained on ImageNet, from a file on this machine."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, get_args
from urllib.parse import urlsplit

import torch
from pydantic import Field, ValidationInfo, field_validator

from ncbench import DataError, Parameters, PluginError, WeightsFile


class PretrainedParameters(Parameters):
    """Parameters of every network that there are pretrained weights of; which ones there are, a subclass says."""

    weights: str = Field("none", description="initial weights")
    frozen: bool = Field(
        False,
        description="whether the network stays as its weights are: it is run once over the data, without augmentation, "
        "and methods train on the features",
    )

    @field_validator("frozen")
    @classmethod
    def _only_with_weights(cls, frozen: bool, given: ValidationInfo) -> bool:
        if frozen and given.data.get("weights") == "none":
            *_, pretrained = get_args(cls.model_fields["weights"].annotation)
            raise ValueError(f"a frozen network needs weights={pretrained}")
        return frozen


class WeightsParameters(PretrainedParameters):
    """Parameters of every network that there are torchvision's weights of, or others of ImageNet."""

    weights: Literal["none", "imagenet"] = Field(
        "none",
        description="initial weights: random, or ImageNet's from a file on this machine (torchvision's IMAGENET1K_V1)",
    )


def published_file(url: str) -> WeightsFile:
    """Return the file of an address whose name ends with the beginning of its SHA-256, as those of torch's hub do.

    It belongs into the checkpoints folder of torch's hub.

    Raises:
        PluginError: Its name does not.
    """
    path = checkpoints_folder() / Path(urlsplit(url).path).name
    digest = path.stem.rpartition("-")[2]
    if not re.fullmatch("[0-9a-f]{8,64}", digest):
        raise PluginError(f"The name in {url} does not end with the beginning of the file's SHA-256.")
    return WeightsFile(path, url, digest)


def checkpoints_folder() -> Path:
    """Return where torch's hub keeps files of weights: below ``$TORCH_HOME``, else in the user's cache folder."""
    return Path(torch.hub.get_dir()) / "checkpoints"


@contextlib.contextmanager
def loading(path: Path, spec: str, without: str) -> Iterator[None]:
    """Explain why a file of weights cannot be loaded; nothing is downloaded.

    Args:
        path: The file.
        spec: Of the backbone.
        without: The backbone without pretrained weights.

    Raises:
        DataError: The file is absent, or the block that reads it raises anything: torch and safetensors raise many
            types for a file that is truncated, foreign or of another network.
    """
    command = f"ncbench backbones fetch {spec}"
    if not path.is_file():
        raise DataError(
            f"{spec} needs the file {path}, which is not there. To get it: {command}; or run without pretrained "
            f"weights: --backbone {without}."
        )
    try:
        yield
    except Exception as error:
        raise DataError(
            f"The weights in {path} are damaged or not those of {without}. To get them again: {command}"
        ) from error
