"""Automatic feature reweighting: an erm's last layer, refitted on held-out images that it finds hard."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from ncbench import Batch, LogUniform, Method, Parameters, Published, SplitView, Uniform
from ncbench_methods.last_layer.fixed_features import FeaturePasses

SHARE = 0.8
"""Of the training images, those that the erm is trained on; the last layer is refitted on the others."""
_SOURCE = "Qiu et al. (ICML 2023), the published code's README and notebooks; its crops (data/) are of 70 % at least"
_RECIPE: Mapping[str, Any] = MappingProxyType(
    {"optimizer": "sgd", "momentum": 0.9, "lr": 3e-3, "weight_decay": 1e-4, "augmentation": "resized_crop_flip"}
)


class AFRParameters(Parameters):
    """Parameters of :class:`AFR`."""

    gamma: float = Field(10.0, ge=0, description="how fast the weight of an image falls with the erm's probability")
    penalty: float = Field(0.0, ge=0, description="lambda, of the squared distance to the erm's last layer")
    lr: float = Field(0.01, gt=0, description="step length of the refit")
    steps: int = Field(500, ge=1, description="steps of the refit")


class AFR(FeaturePasses):
    """Train an erm on 80 % of the training images, and refit its last layer on the others (Qiu et al., ICML 2023).

    With p the erm's softmax and n_y the number of the refit's N images of class y, image i has the weight

        w_i ~ exp(-gamma p_{y_i}(x_i)) N / n_{y_i},

    all of them adding to 1, and constant from then on. Starting from the erm's W_0 and b_0, gradient descent on all
    images at once, without momentum and with the gradient clipped to norm 1, minimises

        sum_i w_i CE(W h_i + b, y_i) + lambda (|W - W_0|^2 + |b - b_0|^2).

    The 80 % are drawn once from the run's seed. Features of the refit are those of images without augmentation, and its
    last step is kept; the published notebooks keep the step with the best worst group of validation images. The method
    trains an erm of its own, since one that has seen all training images would find none of them hard.

    A search tries what the published sweeps do on waterbirds and celeba together. Supervision: none.
    """

    Parameters = AFRParameters
    kept: Tensor
    search_space: ClassVar = {
        **Method.search_space,
        "method.gamma": Uniform(1, 20),
        "method.penalty": (0.0, 0.001, 0.01, 0.1, 0.2, 0.3),
        "method.lr": LogUniform(0.01, 0.02),
    }
    published: ClassVar[Mapping[str, Published]] = {
        "waterbirds": Published(
            source=f"{_SOURCE}, waterbirds",
            parameters={"gamma": 10.0, "penalty": 0.0, "lr": 0.01, "steps": 500},
            recipe={**_RECIPE, "epochs": 50, "batch_size": 32, "schedule": "constant"},
            backbone="resnet50:weights=imagenet",
        ),
        "celeba": Published(
            source=f"{_SOURCE}, celeba",
            parameters={"gamma": 1.44, "penalty": 1e-3, "lr": 0.02, "steps": 1000},
            recipe={**_RECIPE, "epochs": 20, "batch_size": 100, "schedule": "cosine"},
            backbone="resnet50:weights=imagenet",
        ),
    }

    def build(self) -> None:
        """Create the network, and draw the images that the erm is trained on."""
        super().build()
        shuffled = torch.randperm(self.task.num_train, generator=self.task.generator("afr"))
        kept = torch.zeros(self.task.num_train, dtype=torch.bool)
        kept[shuffled[: max(1, round(SHARE * self.task.num_train))]] = True
        self.register_buffer("kept", kept, persistent=False)  # (N,)

    def order(self, train: SplitView, generator: torch.Generator) -> Tensor:
        """Return the erm's images in random order."""
        own = self.kept.cpu().nonzero()[:, 0]
        return own[torch.randperm(len(own), generator=generator)]

    def loss(self, batch: Batch) -> Tensor:
        """Return the mean cross-entropy of the erm."""
        return F.cross_entropy(self(batch.images), batch.target)

    def finish(self, train: SplitView, val: SplitView | None) -> None:
        """Refit the last layer on the other images."""
        others = (~self.kept).cpu().nonzero()[:, 0]
        if not len(others):
            return
        features, target = self.features_of(train, others), train.target[others.to(train.target.device)]
        start = self.classifier.weight.detach().double(), self.classifier.bias.detach().double()
        weight = hardness_weights(features @ start[0].T + start[1], target, self.params.gamma)
        self.report["effective_images"] = float(1 / weight.square().sum())
        self.set_classifier(*refit(features, target, weight, start, self.params))


def hardness_weights(logits: Tensor, target: Tensor, gamma: float) -> Tensor:
    """Return exp(-gamma p_y) N / n_y of each image, over their sum: (N, K), (N,) int64 -> (N,)."""
    p = logits.softmax(dim=1).gather(1, target[:, None])[:, 0]
    weight = torch.exp(-gamma * p) / torch.bincount(target)[target]
    return weight / weight.sum()


def refit(
    features: Tensor, target: Tensor, weight: Tensor, start: tuple[Tensor, Tensor], params: AFRParameters
) -> tuple[Tensor, Tensor]:
    """Minimise the weighted cross-entropy plus the penalty by clipped gradient descent.

    Args:
        features: (N, d).
        target: (N,) int64.
        weight: (N,), adding to 1.
        start: W_0 (K, d) and b_0 (K,).
        params: Penalty, step length and number of steps.

    Returns:
        W (K, d) and b (K,).
    """
    (W_0, b_0), (W, b) = start, start
    expected = F.one_hot(target, len(b)).to(features)
    for _ in range(params.steps):
        residual = ((features @ W.T + b).softmax(dim=1) - expected) * weight[:, None]  # (N, K)
        gradients = [
            residual.T @ features + 2 * params.penalty * (W - W_0),
            residual.sum(dim=0) + 2 * params.penalty * (b - b_0),
        ]
        length = torch.stack([gradient.norm() for gradient in gradients]).norm()
        step = params.lr / length.clamp_min(1)
        W, b = W - step * gradients[0], b - step * gradients[1]
    return W, b
