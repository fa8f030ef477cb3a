"""Fishr: gradients of the classifier that vary alike in all environments."""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from ncbench import Batch, LogUniform, Method, Uniform
from ncbench_methods.invariance.environments import ComparesEnvironments, EnvironmentParameters, Environments
from ncbench_methods.precision import at_least_float32


class FishrParameters(EnvironmentParameters):
    """Parameters of :class:`Fishr`."""

    weight: float = Field(1000.0, ge=0, description="weight lambda of the penalty, after that share of the training")
    anneal: float = Field(0.3, ge=0, lt=1, description="share of the training, at its start, without the penalty")
    ema: float = Field(0.95, ge=0, lt=1, description="share of the old value in the moving average of the variances")


class Fishr(ComparesEnvironments):
    """Minimise CE + lambda mean_e |v_e - mean_e v_e|^2 (Rame, Dancette, Cord, ICML 2022, section 3).

    v_e is the variance, over environment e's images in the batch, of the gradient of an image's cross-entropy with
    respect to each weight of the classifier. That gradient is (p - y) h^T, and p - y for the classifier's biases, so
    that nothing has to be differentiated image by image. A moving average a_e <- ema a_e + (1 - ema) v_e from zero
    stands for v_e in the penalty, divided by 1 - ema so that the gradient through this batch's v_e keeps its size. An
    environment with a single image in the batch has no variance: its average stays as it is, and it has no part in the
    penalty.

    Defaults and form are those of the published code and DomainBed: |.|^2 is the mean over the classifier's weights, to
    which this lambda belongs, where the paper writes the sum. The penalty comes after 1,500 of the 5,000 steps of a run
    there, and after the same share of the training here. DomainBed starts Adam anew with it, and demands every
    environment in every batch. A search tries its ranges, with 0, 500 and 1,500 of 5,000 steps as shares.

    Supervision: the bias attribute of training images, whose values are the environments.
    """

    Parameters = FishrParameters
    variances: Tensor
    search_space: ClassVar = {
        **Method.search_space,
        "method.weight": LogUniform(10, 10000),
        "method.anneal": (0.0, 0.1, 0.3),
        "method.ema": Uniform(0.9, 0.99),
    }

    def build(self) -> None:
        """Create the network and the averages of the variances."""
        super().build()
        shape = (self.task.num_bias, self.task.num_classes, self.backbone.feature_dim + 1)
        self.register_buffer("variances", torch.zeros(shape))  # (E, K, d + 1) a_e, the biases' last

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the mean cross-entropy and, after the first part of the training, the weighted penalty."""
        features = self.features(batch.images)
        logits = at_least_float32(self.classify(features))
        with torch.autocast(features.device.type, enabled=False):
            penalty = self.penalty(at_least_float32(features), logits, batch.target, self.environments(batch))
        weight = self.params.weight if self.after(self.params.anneal) else 0.0
        return {"cross_entropy": F.cross_entropy(logits, batch.target), "penalty": weight * penalty}

    def penalty(self, features: Tensor, logits: Tensor, target: Tensor, environments: Environments) -> Tensor:
        """Update the averages by a batch, and return how far they are from one another."""
        variances = gradient_variances(features, logits, target, environments)
        averages = self.params.ema * self.variances + (1 - self.params.ema) * variances
        with torch.no_grad():
            self.variances = torch.where((environments.count >= 2)[:, None, None], averages, self.variances)
        return environments.spread((averages / (1 - self.params.ema)).flatten(1))


def gradient_variances(features: Tensor, logits: Tensor, target: Tensor, environments: Environments) -> Tensor:
    """Return the variances over each environment of the gradients of CE with respect to a linear classifier.

    Args:
        features: (N, d).
        logits: (N, K).
        target: (N,) int64.
        environments: Of the N images; one without images has variances of 0.

    Returns:
        (E, K, d + 1), dividing by the number of images, with those of the biases last.
    """
    inputs = torch.cat([features, torch.ones_like(features[:, :1])], dim=1)  # (N, d + 1)
    residual = logits.softmax(dim=1) - F.one_hot(target, logits.shape[1])  # (N, K), the gradient is their outer product
    share = environments.belongs.to(residual) / environments.count.clamp_min(1)  # (N, E)
    mean, square = (
        torch.einsum("nek,nd->ekd", share[:, :, None] * r[:, None], h)
        for r, h in ((residual, inputs), (residual.square(), inputs.square()))
    )
    return square - mean.square()
