"""The networks of timm without their classifier, from the package of the extra ncbench[timm]."""

from __future__ import annotations

import copy
import importlib
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field, ValidationInfo, field_validator
from torch import Tensor

from ncbench import Backbone, ConfigurationError, DataError, WeightsFile, unknown_name
from ncbench_backbones.pretrained import PretrainedParameters, checkpoints_folder, loading, published_file

_FILE = "model.safetensors"


class TimmParameters(PretrainedParameters):
    """Parameters of :class:`TimmNetwork`."""

    weights: Literal["none", "pretrained"] = Field(
        "none", description="initial weights: random, or those that timm has by the model's name, from a file here"
    )
    model: str = Field(
        "resnet18",
        validate_default=True,
        description="timm's name of the network; with pretrained weights their tag belongs to it, as in "
        "resnet18.a1_in1k, and timm's first is taken where there is none",
    )

    @field_validator("model")
    @classmethod
    def _known(cls, model: str, given: ValidationInfo) -> str:
        timm = _timm()
        if given.data.get("weights") == "pretrained":
            names, kind, listed = timm.list_pretrained(), "pretrained model of timm", "timm.list_pretrained() in Python"
            if model in timm.list_models() and (config := timm.get_pretrained_cfg(model)) is not None:
                model = f"{model}.{config.tag}" if config.tag else model
        else:
            names, kind, listed = timm.list_models(), "model of timm", "timm.list_models() in Python"
            model = model.partition(".")[0]
        if model not in names:
            raise unknown_name(kind, model, names, listed)
        return model


class TimmNetwork(Backbone):
    """A network of timm up to the features that its classifier would see.

    With `weights=pretrained` the weights come from a file that ``ncbench backbones fetch`` brings, and everything else
    from timm's own configuration of them: images, which are to be x/255, are normalised by its mean and standard
    deviation, those of one channel are repeated, and where it fixes the size, images have to have it. Without, a
    network that is built for one size is built for the size of the images.

    The number of features is that of the model. Whatever images it takes; what it says of others is passed on.

    Raises:
        ConfigurationError: timm is not installed, or the model does not take such images.
        DataError: The file of weights is absent, damaged or of another model.
    """

    Parameters = TimmParameters
    mean: Tensor
    std: Tensor

    def __init__(self, image_shape: tuple[int, int, int], params: TimmParameters) -> None:
        super().__init__(image_shape, params)
        timm, spec, (channels, height, width) = _timm(), str(params.spec("timm")), image_shape
        config = timm.get_pretrained_cfg(params.model)
        self.pretrained = params.weights == "pretrained"
        if self.pretrained:
            if channels not in (1, 3):
                raise ConfigurationError(f"{spec} takes images with 1 or 3 channels, and these have {channels}.")
            _, *sides = config.input_size
            if config.fixed_input_size and [height, width] != sides:
                raise ConfigurationError(
                    f"{spec} takes images of {sides[0]} x {sides[1]} pixels, and these have {height} x {width}. "
                    "Use images of that size or another model."
                )
            path = _path(config)
            with loading(path, spec, f"timm:model={config.architecture}"):
                if path.suffix != ".safetensors":  # some versions of timm would unpickle anything
                    torch.load(path, map_location="cpu", weights_only=True)
                self.network = timm.create_model(
                    params.model,
                    pretrained=True,
                    # It is timm's own format where others offer theirs, which custom_load is about.
                    pretrained_cfg_overlay={"file": str(path), "custom_load": False},
                    num_classes=0,
                )
            for name, values in (("mean", config.mean), ("std", config.std)):
                self.register_buffer(name, torch.tensor(values).view(1, 3, 1, 1), persistent=False)
        try:
            if not self.pretrained:
                fixed = {"img_size": (height, width)} if config is not None and config.fixed_input_size else {}
                self.network = timm.create_model(params.model, in_chans=channels, num_classes=0, **fixed)
            self.feature_dim = self._probe()
        except Exception as error:  # a model says in its own way which images it does not take
            said = " ".join(str(error).split())
            raise ConfigurationError(
                f"{spec} does not take images of {channels} x {height} x {width}, or gives no vector for each "
                f"({type(error).__name__}: {said:.200})."
            ) from error

    def _probe(self) -> int:
        """Return the number of features of one image, in the mode in which the network is going to see it."""
        trial = copy.deepcopy(self).train(not self.params.frozen)  # a copy, since BatchNorm learns from what it sees
        with torch.no_grad(), torch.random.fork_rng(devices=()):
            _, features = trial(torch.zeros(1, *self.image_shape)).shape
        return int(features)

    @classmethod
    def input_scaling(cls, params: TimmParameters) -> str | None:
        """Return ``unit`` for pretrained weights: the network normalises images itself, as timm says."""
        return "unit" if params.weights == "pretrained" else None

    @classmethod
    def weights_file(cls, params: TimmParameters) -> WeightsFile | None:
        """Return timm's file; where it is on the Hugging Face hub, the hub is asked for its hash.

        Raises:
            DataError: The hub gives none.
        """
        if params.weights == "none":
            return None
        config = _timm().get_pretrained_cfg(params.model)
        if not config.hf_hub_id:
            return published_file(config.url)
        from huggingface_hub import HfApi

        try:
            listing = (hub := HfApi()).model_info(config.hf_hub_id, files_metadata=True)
            sha256 = next(each.lfs.sha256 for each in listing.siblings or () if each.rfilename == _FILE and each.lfs)
        except StopIteration:
            raise DataError(f"The hub's {config.hf_hub_id} has no {_FILE} whose hash it knows.") from None
        except Exception as error:  # the client raises many types, its HTTP library's among them
            said = " ".join(str(error).split())
            raise DataError(f"The hub's listing of {config.hf_hub_id} cannot be had: {said:.300}") from error
        url = f"{hub.endpoint}/{config.hf_hub_id}/resolve/{listing.sha}/{_FILE}"
        return WeightsFile(_path(config), url, sha256)

    def forward(self, images: Tensor) -> Tensor:
        """Return the features: (N, C, H, W) -> (N, feature_dim)."""
        if self.pretrained:
            images = (images.expand(-1, 3, -1, -1) - self.mean) / self.std
        features: Tensor = self.network(images)
        return features


def _path(config: Any) -> Path:
    """Return where the file of weights belongs."""
    if config.hf_hub_id:
        return checkpoints_folder() / "timm" / f"{config.architecture}.{config.tag}.safetensors"
    return published_file(config.url).path


def _timm() -> Any:
    try:
        return importlib.import_module("timm")
    except ImportError as error:
        raise ConfigurationError(
            "The backbone timm needs the package timm, which is not installed: pip install 'ncbench[timm]'"
        ) from error
