"""Disagreement-probability resampling: images are drawn as often as a biased network disagrees with their class."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from ncbench import Batch, Method, Parameters, SplitView, Stage
from ncbench_methods.generalized_cross_entropy import generalized_cross_entropy
from ncbench_methods.two_networks.networks import probability_of_target

_LEAST = 1e-8


class DPRParameters(Parameters):
    """Parameters of :class:`DPR`."""

    biased_epochs: int = Field(0, ge=0, description="epochs of the biased network; 0 for the recipe's number")
    q: float = Field(0.7, gt=0, le=1, description="exponent of the biased network's generalised cross-entropy")
    temperature: float = Field(1.0, gt=0, description="temperature of the probabilities that images are drawn by [tau]")


class DPR(Method):
    """Draw images in proportion to 1 - p_B(y), where p_B is a biased network's (Han et al., NeurIPS 2024).

    First the network is trained by generalised cross-entropy. Then an epoch draws N images with replacement, an image
    proportionally to max(1 - p_B(y), 1e-8), its disagreement probability, and the *same* network goes on by
    cross-entropy: the debiased network starts from the biased one, as published. p_B is that of the end of the first
    stage, in evaluation mode. Where p_B(y) is the same for all images, the second stage is erm on uniform draws.

    No settings are taken over: the published code's runs on colored MNIST (utils/pre_conf.py) have a network of three
    convolutions with dropout and random crops, neither of which is here. They are 100 epochs of SGD at 0.02, times 0.1
    every 40, with momentum 0.9, weight decay 1e-3 and 128 images a batch, and a temperature of 1.

    Supervision: none.
    """

    Parameters = DPRParameters
    disagreement: Tensor

    def build(self) -> None:
        """Create the network, and what each training image is drawn by."""
        super().build()
        self.register_buffer("disagreement", torch.ones(self.task.num_train, dtype=torch.float64))  # (N,)

    def stages(self, epochs: int) -> Sequence[Stage]:
        """Return the training of the biased network, and the one that debiases it."""
        return [Stage("biased", self.params.biased_epochs or epochs), Stage("train", epochs)]

    def start_stage(self, stage: Stage, train: SplitView, val: SplitView | None) -> None:
        """Before the second stage, ask the biased network how far it disagrees with each image's class."""
        if stage.name == "train":
            self.disagreement = self.disagreement_of(train)

    @torch.no_grad()
    def disagreement_of(self, train: SplitView) -> Tensor:
        """Return max(1 - p(y), 1e-8) of the training images: (N,) float64."""
        self.eval()
        tau = self.params.temperature
        each = [probability_of_target(self(batch.images), batch.target, tau) for batch in train.batches()]
        return (1 - torch.cat(each).double()).clamp_min(_LEAST)

    def order(self, train: SplitView, generator: torch.Generator) -> Tensor:
        """Return each image once while the network becomes biased, and N draws afterwards."""
        if self.progress.stage == "biased":
            return torch.randperm(len(train), generator=generator)
        return torch.multinomial(self.disagreement.cpu(), len(train), replacement=True, generator=generator)

    def loss(self, batch: Batch) -> Tensor:
        """Return the mean generalised cross-entropy, and the mean cross-entropy afterwards."""
        logits = self(batch.images)
        if self.progress.stage == "biased":
            return generalized_cross_entropy(logits, batch.target, self.params.q).mean()
        return F.cross_entropy(logits, batch.target)
