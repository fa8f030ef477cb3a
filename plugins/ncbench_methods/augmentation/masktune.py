"""MaskTune: after training, hide what the network looks at most, and make it look elsewhere."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import ClassVar, Self

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from ncbench import Batch, ConfigurationError, Method, Parameters, SplitView, Stage


class MaskTuneParameters(Parameters):
    """Parameters of :class:`MaskTune`."""

    mask_epochs: int = Field(1, ge=1, description="epochs on masked images")
    deviations: float = Field(2.0, description="standard deviations above the mean from which a map is masked")


class MaskTune(Method):
    """Train by cross-entropy, mask what is looked at most, and train on what is left (Asgari et al., NeurIPS 2022).

    The second stage masks, in every image, what has an importance above mean + 2 standard deviations of the positive
    importances; it goes on with the optimizer and the last learning rate. Importance is that of the network as the
    first stage left it, in evaluation mode, for the class of the image; see :func:`importance`. It is found for the
    augmented images themselves, so that the mask fits them; the published code masks the images once, before
    augmentation. Masked pixels are 0 at the network's input, the mean colour where the recipe standardises.

    Images only: feature vectors have no parts to mask. Supervision: none.
    """

    Parameters = MaskTuneParameters
    search_space: ClassVar = {**Method.search_space, "method.deviations": (1.0, 2.0, 3.0)}

    def build(self) -> None:
        """Create the network, and the copy of it that tells what to mask."""
        super().build()
        if len(self.task.input_shape) == 1:
            raise ConfigurationError(
                "masktune masks parts of images, and the inputs of this dataset, or the features of a frozen backbone, "
                "are vectors. Use images and a backbone that is trained."
            )
        self.first = copy.deepcopy(nn.Sequential(self.backbone, self.classifier)).requires_grad_(False)

    def stages(self, epochs: int) -> Sequence[Stage]:
        """Return the training and the tuning on masked images."""
        return [Stage("train", epochs), Stage("mask", self.params.mask_epochs, continues=True)]

    def start_stage(self, stage: Stage, train: SplitView, val: SplitView | None) -> None:
        """Before the tuning, keep the network as it is."""
        if stage.name == "mask":
            self.first[0].load_state_dict(self.backbone.state_dict())
            self.first[1].load_state_dict(self.classifier.state_dict())

    def train(self, mode: bool = True) -> Self:
        """Set the mode of what is trained; the copy of the first stage stays as it is."""
        super().train(mode)
        self.first.eval()
        return self

    def loss(self, batch: Batch) -> Tensor:
        """Return the mean cross-entropy, of masked images in the second stage."""
        images = batch.images if self.progress.stage != "mask" else self.masked(batch.images, batch.target)
        return F.cross_entropy(self(images), batch.target)

    def masked(self, images: Tensor, target: Tensor) -> Tensor:
        """Return the images with 0 where the first stage's network looks most: (N, C, H, W)."""
        found = importance(self.first, images, target)
        found = F.interpolate(found[:, None], images.shape[2:], mode="bilinear", align_corners=False)  # (N, 1, H, W)
        positive = (found > 0).to(found)
        number = positive.sum(dim=(1, 2, 3), keepdim=True).clamp_min(1)
        mean = (positive * found).sum(dim=(1, 2, 3), keepdim=True) / number
        deviation = ((positive * (found - mean).square()).sum(dim=(1, 2, 3), keepdim=True) / number).sqrt()
        return images.masked_fill((found > mean + self.params.deviations * deviation) & (found > 0), 0)


def importance(network: nn.Module, images: Tensor, target: Tensor) -> Tensor:
    """Return how much each place of the last map A of a network speaks for the target: (N, h, w).

    It is sum_c A_c dz_y/dA_c: the class activation map (Zhou et al., CVPR 2016), over h w, where the map is averaged
    and classified, as XGrad-CAM is there. The last map is what the last module to return (N, C, h, w) with more
    than one place returns; without any, as in an mlp, it is the images.

    Args:
        network: (N, C, H, W) -> (N, K) logits.
        images: (N, C, H, W).
        target: (N,) int64.
    """
    maps = [images.detach().requires_grad_()]

    def keep(module: nn.Module, given: object, returned: object) -> None:
        if isinstance(returned, Tensor) and returned.dim() == 4 and returned.shape[2] * returned.shape[3] > 1:
            maps[:] = [maps[0], returned]

    hooks = [module.register_forward_hook(keep) for module in network.modules()]
    try:
        with torch.enable_grad(), torch.autocast(images.device.type, enabled=False):
            logits = network(maps[0])
            (gradient,) = torch.autograd.grad(logits.gather(1, target[:, None]).sum(), [maps[-1]])
    finally:
        for hook in hooks:
            hook.remove()
    return (maps[-1] * gradient).sum(dim=1).detach()
