"""Logit correction: the classes' prior given what a biased network predicts is added to the logits while training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from ncbench import Batch, Method, Parameters, Published
from ncbench_methods.augmentation.mixing import draw_partners, draws_of_step, mix
from ncbench_methods.conditional_prior import prior_adjusted_cross_entropy
from ncbench_methods.generalized_cross_entropy import generalized_cross_entropy
from ncbench_methods.precision import at_least_float32
from ncbench_methods.published_recipes import RESNET50
from ncbench_methods.two_networks.networks import make_network

_LEAST = 1e-4  # of the prior of a class that the batch does not show with an attribute value


class LCParameters(Parameters):
    """Parameters of :class:`LC`; the defaults are the published code's off waterbirds, except for `ema`."""

    q: float = Field(0.7, gt=0, le=1, description="exponent of the biased network's generalised cross-entropy")
    temperature: float = Field(1.0, gt=0, description="temperature tau of the biased network's probabilities")
    ema: float = Field(0.5, ge=0, lt=1, description="share of the old value in the moving average of probabilities")
    eta: float = Field(1.0, ge=0, description="strength of the correction")
    biased_weight: float = Field(1.0, ge=0, description="weight of the biased network's loss")
    biased_lr_scale: float = Field(1.0, gt=0, description="factor on the learning rate of the biased network")
    biased_weight_decay: float = Field(0.0, ge=0, description="weight decay of the biased network")
    mix: bool = Field(True, description="whether images are mixed with conflicting ones of their class")
    mix_epochs: int = Field(
        0, ge=0, description="epochs in which mixing grows to full strength; 0: it is from the start"
    )


class LC(Method):
    """Correct the logits by the prior of the classes given a guessed attribute (Liu et al., ICLR 2023).

    A biased network f_B is trained by generalised cross-entropy. Its probabilities softmax(z_B / tau), as a moving
    average for every image, give the guess: b^ is the likeliest class. pi(y | b^) is the mean of f_B's probability of y
    over the batch's images with this y and b^, normalised over y; 1e-4 at least. The other network minimises CE(z + eta
    log pi(. | b^), y), and predicts by z alone. With the true attribute, its exact prior and no mixing it is
    bias_balance.

    Images are mixed with images of their class that seem conflicting (group mixup, algorithm 1): partners are those of
    the batch with b^ != y, or any of the class where it has none; the image's own share is drawn for the batch from
    U(1 - 2 s, 1 - s), with s growing to 1/2 as exp(-5 (1 - t)^2) / 2 over `mix_epochs`; priors are mixed alike.

    The published code averages no probabilities of images (`ema=0`), and on other data than waterbirds keeps a moving
    average of pi over batches. It has no settings for images but those of waterbirds. GCE is the paper's, as in lff.

    A search tries the settings that the published code's README has for waterbirds and CivilComments, and the defaults.
    Supervision: none.
    """

    Parameters = LCParameters
    average: Tensor
    visited: Tensor
    search_space: ClassVar = {
        **Method.search_space,
        "method.q": (0.7, 0.8),
        "method.temperature": (0.1, 1.0),
        "method.ema": (0.5, 0.9),
        "method.biased_weight": (0.1, 1.0, 2.0),
        "method.biased_lr_scale": (0.1, 1.0),
        "method.mix_epochs": (0, 50),
    }
    published: ClassVar[Mapping[str, Published]] = {
        "waterbirds": Published(
            source="Liu et al. (ICLR 2023), README of the published code",
            parameters={
                **{"q": 0.8, "temperature": 0.1, "ema": 0.5, "biased_weight": 2.0, "mix_epochs": 50},
                **{"biased_lr_scale": 0.1},
            },
            recipe={
                **{**RESNET50, "epochs": 300, "batch_size": 32, "lr": 1e-3, "weight_decay": 1e-4, "momentum": 0.0},
                **{"schedule": "step", "schedule_every": 50, "schedule_factor": 0.1},
            },
            backbone="resnet50:weights=imagenet",
        ),
    }

    def build(self) -> None:
        """Create both networks, and the average of the biased one's probabilities for each training image."""
        super().build()
        self.biased = make_network(self)
        self.register_buffer("average", torch.zeros(self.task.num_train, self.task.num_classes))  # (N, K)
        self.register_buffer("visited", torch.zeros(self.task.num_train, dtype=torch.bool))

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return the network's parameters, and the biased network's with its own learning rate and decay."""
        p = self.params
        network = [*self.backbone.parameters(), *self.classifier.parameters()]
        biased = list(self.biased.parameters())
        return [
            {"params": network},
            {"params": biased, "lr_scale": p.biased_lr_scale, "weight_decay": p.biased_weight_decay},
        ]

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the biased network's loss and the corrected cross-entropy."""
        logits_biased = self.biased(batch.images)
        prior, conflicting = self.prior_of(logits_biased.detach(), batch)
        images = batch.images
        if self.params.mix:
            partner, share = self.partners(batch.target, conflicting)
            images = mix(images, partner, share)
            prior = mix(prior, partner, share)
        log_prior = prior.clamp_min(_LEAST).log()
        corrected = prior_adjusted_cross_entropy(self(images), log_prior, batch.target, self.params.eta)
        biased = generalized_cross_entropy(logits_biased, batch.target, self.params.q)
        return {"biased": self.params.biased_weight * biased.mean(), "corrected": corrected.mean()}

    @torch.no_grad()
    def prior_of(self, logits_biased: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return pi(. | b^) of each image, (N, K), and whether b^ differs from its class, (N,) bool."""
        p = (at_least_float32(logits_biased) / self.params.temperature).softmax(dim=1).to(self.average)
        old_share = (self.params.ema * self.visited[batch.index])[:, None]
        p = old_share * self.average[batch.index] + (1 - old_share) * p
        self.average[batch.index] = p
        self.visited[batch.index] = True
        guess = p.argmax(dim=1)
        return prior_table(p, batch.target, guess)[guess], guess != batch.target

    def partners(self, target: Tensor, conflicting: Tensor) -> tuple[Tensor, Tensor]:
        """Return each image's partner in the batch, (N,) int64, and its own share, (N,), the same for all."""
        draws, mix_epochs = draws_of_step(self, "mix"), self.params.mix_epochs
        t = min(self.progress.epoch / mix_epochs, 1.0) if mix_epochs else 1.0
        strength = np.exp(-5 * (1 - t) ** 2) / 2
        share = draws.uniform(1 - 2 * strength, 1 - strength)
        of_class = target[:, None] == target  # (N, N)
        wanted = of_class & conflicting
        partner = draw_partners(torch.where(wanted.any(dim=1, keepdim=True), wanted, of_class), draws)
        return partner, self.average.new_full((len(target),), share)


def prior_table(p: Tensor, target: Tensor, guess: Tensor) -> Tensor:
    """Return pi(y | b^), 0 for what the batch does not show: (K, K), a row for each b^.

    Args:
        p: (N, K), the biased network's probabilities.
        target: (N,) int64, y.
        guess: (N,) int64, b^.
    """
    of_target, of_guess = (F.one_hot(labels, p.shape[1]).to(p) for labels in (target, guess))  # (N, K)
    own = p.gather(1, target[:, None])
    mean = of_guess.T @ (own * of_target) / (of_guess.T @ of_target).clamp_min(1)  # (K, K)
    return mean / mean.sum(dim=1, keepdim=True).clamp_min(torch.finfo(p.dtype).tiny)
