"""Correct-n-contrast: same class and other group together, other class and same group apart."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from ncbench import Batch, Method, Parameters, Published, SplitView
from ncbench_methods.balancing.cells import balanced_draws
from ncbench_methods.precision import at_least_float32
from ncbench_methods.published_recipes import RESNET50
from ncbench_methods.search_spaces import STRONG_DECAY

_SOURCE = (
    "Zhang et al. (ICML 2022), README of the published code, whose epochs are of anchors; batches are drawn otherwise"
)


class CnCParameters(Parameters):
    """Parameters of :class:`CnC`."""

    contrast: float = Field(0.75, ge=0, lt=1, description="share of the contrastive loss")
    temperature: float = Field(0.1, gt=0, description="tau, by which the cosines are divided")


class CnC(Method):
    """Minimise (1 - c) CE + c L, L the contrastive loss between classes and groups (Zhang et al., ICML 2022).

    With s_ij the cosine of two images' features over tau, positives of an anchor i the images of its class with another
    group, and negatives those of another class with its group,

        L_i = -mean over positives p of log(e^{s_ip} / (sum over negatives e^{s_in} + sum over positives e^{s_ip'})).

    The paper takes for groups what a strongly regularised erm predicts: that is `--groups predictions`. With the
    predictions of a perfect one there are no positives, and what is left is (1 - c) times erm's loss.

    The published code makes a batch of one anchor that was predicted right, 17 or 64 positives and as many negatives of
    it, and the same again for one of the positives; its network is in evaluation mode meanwhile. Here images are drawn
    with all groups (class, group) equally likely, every image of a batch is an anchor to the positives and negatives in
    it, and L is the mean over all images, to which those without positives add nothing. A step costs what erm's does.

    A search tries shares and temperatures around the published ones, which is this project's choice.
    Supervision: the bias attribute of training images; with inferred groups, that of the inference.
    """

    Parameters = CnCParameters
    learns_features = True
    consumes_groups = True
    alternative = "Add --groups predictions, which infers groups as the paper does."
    search_space: ClassVar = {
        **STRONG_DECAY,
        "method.contrast": (0.25, 0.5, 0.75, 0.9),
        "method.temperature": (0.05, 0.1, 0.2),
    }
    published: ClassVar[Mapping[str, Published]] = {
        "waterbirds": Published(
            source=_SOURCE,
            parameters={"contrast": 0.75, "temperature": 0.1},
            recipe={**RESNET50, "epochs": 5, "lr": 1e-4, "weight_decay": 1e-3},
            backbone="resnet50:weights=imagenet",
        ),
        "celeba": Published(
            source=_SOURCE,
            parameters={"contrast": 0.75, "temperature": 0.05},
            recipe={**RESNET50, "epochs": 15, "lr": 1e-5, "weight_decay": 0.1},
            backbone="resnet50:weights=imagenet",
        ),
    }

    def order(self, train: SplitView, generator: torch.Generator) -> Tensor:
        """Return N images, drawn with replacement so that each group (class, group) is equally likely."""
        return balanced_draws(train, self.task, "group", generator)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the two terms, each times its share."""
        features = self.features(batch.images)
        cross_entropy = F.cross_entropy(self.classify(features), batch.target)
        contrast = contrastive_losses(features, batch.target, batch.bias, self.params.temperature).mean()
        share = self.params.contrast
        return {"cross_entropy": (1 - share) * cross_entropy, "contrast": share * contrast}


def contrastive_losses(features: Tensor, target: Tensor, group: Tensor, temperature: float) -> Tensor:
    """Return L_i of each image of a batch, 0 where it has no positives: (N,), at least float32.

    Args:
        features: (N, d).
        target: (N,) int64.
        group: (N,) int64.
        temperature: tau.
    """
    features = at_least_float32(features)
    with torch.autocast(features.device.type, enabled=False):
        unit = F.normalize(features, dim=1)
        similarity = unit @ unit.T / temperature  # (N, N)
    same_class, same_group = target[:, None] == target, group[:, None] == group
    positive, compared = same_class & ~same_group, same_class ^ same_group
    # An image with nothing to compare has a logarithm of 0, whose gradient is not defined.
    scores = torch.where(compared | ~compared.any(dim=1, keepdim=True), similarity, -torch.inf)
    log_ratio = similarity - scores.logsumexp(dim=1, keepdim=True)
    return -torch.where(positive, log_ratio, 0.0).sum(dim=1) / positive.sum(dim=1).clamp_min(1)
