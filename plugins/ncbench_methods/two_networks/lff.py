"""Learning from failure: a biased network and the network that learns from its failures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from ncbench import Batch, Method, Parameters, Published
from ncbench_methods.generalized_cross_entropy import generalized_cross_entropy


class LfFParameters(Parameters):
    """Parameters of :class:`LfF`; the defaults are those of the paper's section 4.1 and its code."""

    q: float = Field(0.7, gt=0, le=1, description="exponent of the biased network's generalised cross-entropy")
    ema: float = Field(0.7, ge=0, lt=1, description="share of the old value in the moving average of an image's loss")


class LfF(Method):
    """Two networks trained at once: f_B with generalised cross-entropy, f_D with difficulty weights (algorithm 1).

    The weight of an image is its relative difficulty W = l_B / (l_B + l_D) (eq. 4), where l_B and l_D are the
    cross-entropies of the two networks. As in the published code, and needed for its results:

    - l is an exponential moving average over the epochs, kept for each training image; its first value is the loss
      itself, not a mixture with zero;
    - it is divided by the largest average of its class, over all training images and not over the batch alone;
    - W enters as a constant, while l_D in the loss is this step's cross-entropy.

    f_B's loss is the paper's (1 - p^q) / q; the published code's is q times that. SGD takes the factor as one on f_B's
    learning rate. Adam divides it out where gradients are large beside its epsilon, but not where they are near it, as
    with pixels that were divided by 255 twice: there, f_B's weights are up to 7e-3 apart after 20 steps.

    `forward`, and with it every metric, is f_D. Supervision: none.
    """

    Parameters = LfFParameters
    average_biased: Tensor
    average_debiased: Tensor
    visited: Tensor
    target_of: Tensor
    published: ClassVar[Mapping[str, Published]] = {
        "colored_mnist": Published(
            source="Nam et al. (NeurIPS 2020), section 4.1, and the published code's config.py",
            recipe={"epochs": 100, "batch_size": 256, "optimizer": "adam", "lr": 1e-3, "weight_decay": 0.0},
        ),
    }

    def build(self) -> None:
        """Create both networks, and a row of state for every training image."""
        super().build()
        biased = self.make_backbone()
        classifier = nn.Linear(biased.feature_dim, self.task.num_classes)
        biased.init_classifier(classifier)
        self.biased = nn.Sequential(biased, classifier)
        n = self.task.num_train
        self.register_buffer("average_biased", torch.zeros(n))  # (N,) l_B
        self.register_buffer("average_debiased", torch.zeros(n))  # (N,) l_D
        self.register_buffer("visited", torch.zeros(n, dtype=torch.bool))
        self.register_buffer("target_of", torch.zeros(n, dtype=torch.int64))  # class of each image that was visited

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the mean generalised cross-entropy of f_B and the weighted mean cross-entropy of f_D."""
        logits_biased, logits = self.biased(batch.images), self(batch.images)
        loss = F.cross_entropy(logits, batch.target, reduction="none")
        with torch.no_grad():
            loss_biased = F.cross_entropy(logits_biased, batch.target, reduction="none")
            self.target_of[batch.index] = batch.target
            biased = self._normalised_average(self.average_biased, loss_biased, batch)
            debiased = self._normalised_average(self.average_debiased, loss, batch)
            self.visited[batch.index] = True
            weight = biased / (biased + debiased + 1e-8)
        return {
            "biased": generalized_cross_entropy(logits_biased, batch.target, self.params.q).mean(),
            "debiased": (weight * loss).mean(),
        }

    def _normalised_average(self, average: Tensor, loss: Tensor, batch: Batch) -> Tensor:
        """Update the averages of the batch's images and return them, each over the largest one of its class: (N,)."""
        old_share = self.params.ema * self.visited[batch.index]
        average[batch.index] = old_share * average[batch.index] + (1 - old_share) * loss.to(average)
        # Images not yet visited have an average of 0, below every loss, so they cannot be their class's largest.
        largest = average.new_zeros(self.task.num_classes).scatter_reduce(0, self.target_of, average, "amax")  # (K,)
        # A class whose every loss has underflowed to 0 is as easy for one network as for the other: 0, not 0 / 0.
        return average[batch.index] / largest[batch.target].clamp_min(torch.finfo(average.dtype).tiny)
