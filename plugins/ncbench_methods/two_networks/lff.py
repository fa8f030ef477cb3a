"""Learning from failure: a biased network and the network that learns from its failures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from ncbench import Batch, Parameters, Published, Uniform
from ncbench_methods.generalized_cross_entropy import generalized_cross_entropy
from ncbench_methods.search_spaces import NO_DECAY
from ncbench_methods.two_networks.difficulty import WeighsByDifficulty
from ncbench_methods.two_networks.networks import make_network


class LfFParameters(Parameters):
    """Parameters of :class:`LfF`; the defaults are those of the paper's section 4.1 and its code."""

    q: float = Field(0.7, gt=0, le=1, description="exponent of the biased network's generalised cross-entropy")
    ema: float = Field(0.7, ge=0, lt=1, description="share of the old value in the moving average of an image's loss")


class LfF(WeighsByDifficulty):
    """Two networks trained at once: f_B with generalised cross-entropy, f_D with difficulty weights (algorithm 1).

    The weight of an image is its relative difficulty W = l_B / (l_B + l_D) (eq. 4), of averages that are kept for every
    image and normalised in its class; see :class:`~ncbench_methods.two_networks.difficulty.WeighsByDifficulty`. It is a
    constant, while l_D in the loss is this step's cross-entropy.

    f_B's loss is the paper's (1 - p^q) / q; the published code's is q times that. SGD takes the factor as one on f_B's
    learning rate, and its inverse as one on f_B's weight decay. Adam divides it out where gradients are large beside
    its epsilon, but not where they are near it, as with pixels that were divided by 255 twice: there, f_B's weights are
    up to 7e-3 apart after 20 steps.

    `forward`, and with it every metric, is f_D. Supervision: none.

    A search tries q from 0.05 to 0.95, as SubpopBench (Yang et al., ICML 2023) does.
    """

    Parameters = LfFParameters
    search_space: ClassVar = {**NO_DECAY, "method.q": Uniform(0.05, 0.95)}
    published: ClassVar[Mapping[str, Published]] = {
        "colored_mnist": Published(
            source="Nam et al. (NeurIPS 2020), section 4.1, and the published code's config.py",
            recipe={"epochs": 100, "batch_size": 256, "optimizer": "adam", "lr": 1e-3, "weight_decay": 0.0},
        ),
    }

    def build(self) -> None:
        """Create both networks, and a row of state for every training image."""
        super().build()
        self.biased = make_network(self)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the mean generalised cross-entropy of f_B and the weighted mean cross-entropy of f_D."""
        logits_biased, logits = self.biased(batch.images), self(batch.images)
        loss = F.cross_entropy(logits, batch.target, reduction="none")
        loss_biased = F.cross_entropy(logits_biased, batch.target, reduction="none")
        weight = self.relative_difficulty(loss_biased, loss, batch)
        return {"biased": self.biased_loss(logits_biased, batch), "debiased": (weight * loss).mean()}

    def biased_loss(self, logits: Tensor, batch: Batch) -> Tensor:
        """Return what f_B minimises, of its logits (N, K): the mean generalised cross-entropy."""
        return generalized_cross_entropy(logits, batch.target, self.params.q).mean()
