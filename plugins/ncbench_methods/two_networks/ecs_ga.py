"""Conflicting images found by two biased networks that pick for each other, and gradients balanced against the rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from ncbench import Batch, Method, Parameters, Published, SplitView, Stage
from ncbench_methods.search_spaces import NO_DECAY
from ncbench_methods.two_networks.networks import make_network, probability_of_target

_SOLE = -1e-4  # weight of an image that a biased network alone is sure of


class ECSGAParameters(Parameters):
    """Parameters of :class:`ECSGA`, called eta, tau and gamma in the paper."""

    biased_epochs: int = Field(50, ge=1, description="epochs of the two biased networks")
    sure: float = Field(0.5, gt=0, lt=1, description="relative probability eta above which a network is sure")
    threshold: float = Field(0.8, gt=0, lt=1, description="score tau from which an image counts as conflicting")
    balance: float = Field(1.6, gt=0, description="gradient gamma of conflicting images per unit of aligned ones'")


class ECSGA(Method):
    """Effective bias-conflicting scoring, then gradient alignment (Zhao et al., AAAI 2023).

    Scoring trains two networks at once. Each image's cross-entropy weighs 1 in both where *both* are sure of its class;
    where one alone is, -1e-4 in that one (from the second epoch on); else 0. A network is sure if the image's p_y, over
    the largest of its class in the batch, is above eta: as in the published code; p_y itself would exclude everything
    while the networks are new. After each epoch all images are scored in evaluation mode, and the score of an image is
    1 - the mean of p_y over the epochs and both networks. From `threshold` on it counts as conflicting.

    Gradient alignment trains a third network by cross-entropy where, in each batch, an aligned image weighs

        sum of (1 - p_y) of the conflicting / (gamma sum of (1 - p_y) of the aligned),

    a conflicting one 1, scaled to a mean of 1. An epoch spreads the conflicting images evenly, so that batches hold
    their share of them; the published code draws at least one for every batch. A batch without any teaches nothing; if
    the scores find none at all, this is erm.

    Supervision: none.
    """

    Parameters = ECSGAParameters
    total: Tensor
    scored: Tensor
    conflicting: Tensor
    published: ClassVar[Mapping[str, Published]] = {
        "colored_mnist": Published(
            source="Zhao et al. (AAAI 2023), the published code's README, configs/mnist.yaml and main_ecsga.py",
            parameters={"biased_epochs": 50, "sure": 0.5, "threshold": 0.8, "balance": 1.6},
            recipe={"epochs": 200, "batch_size": 256, "optimizer": "adam", "lr": 1e-3, "weight_decay": 0.0},
        ),
    }
    search_space: ClassVar = {
        **NO_DECAY,
        "method.sure": (0.1, 0.5, 0.9),
        "method.balance": (1.0, 1.6),
    }

    def build(self) -> None:
        """Create the network, the two biased ones, and what is known of each training image."""
        super().build()
        self.biased = nn.ModuleList([make_network(self), make_network(self)])
        self.register_buffer("total", torch.zeros(self.task.num_train, dtype=torch.float64))  # (N,) p_y over epochs
        self.register_buffer("scored", torch.zeros((), dtype=torch.int64))  # epochs that are in it
        self.register_buffer("conflicting", torch.zeros(self.task.num_train, dtype=torch.bool))  # (N,)

    def stages(self, epochs: int) -> Sequence[Stage]:
        """Return the scoring and the training."""
        return [Stage("score", self.params.biased_epochs), Stage("train", epochs)]

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return the parameters of the biased networks, and of the other one afterwards."""
        trained = [self.biased] if self.progress.stage == "score" else [self.backbone, self.classifier]
        return [{"params": [parameter for module in trained for parameter in module.parameters()]}]

    def start_stage(self, stage: Stage, train: SplitView, val: SplitView | None) -> None:
        """Before the training, settle which images are conflicting."""
        if stage.name == "train":
            self._score(train)
            self.conflicting = 1 - self.total / self.scored >= self.params.threshold

    @torch.no_grad()
    def _score(self, train: SplitView) -> None:
        """Add this epoch's mean probability of the two networks to every image's total."""
        self.eval()
        for batch in train.batches():
            for network in self.biased:
                p = probability_of_target(network(batch.images), batch.target)
                self.total[batch.index] += p.to(self.total) / len(self.biased)
        self.scored += 1

    def order(self, train: SplitView, generator: torch.Generator) -> Tensor:
        """Return every image once, the conflicting ones spread evenly once they are known."""
        if self.progress.stage != "score":
            return evenly(self.conflicting.cpu(), generator)
        if self.progress.epoch > int(self.scored):
            self._score(train)
            self.train()
        return torch.randperm(len(train), generator=generator)

    def loss(self, batch: Batch) -> Tensor | dict[str, Tensor]:
        """Return the two biased networks' losses, and that of balanced gradients afterwards."""
        if self.progress.stage == "score":
            return self._scoring_loss(batch)
        logits = self(batch.images)
        losses = F.cross_entropy(logits, batch.target, reduction="none")
        strength = 1 - probability_of_target(logits, batch.target)  # of each image's gradient
        conflicting = self.conflicting[batch.index].to(strength)
        of_conflicting, of_aligned = (conflicting * strength).sum(), ((1 - conflicting) * strength).sum()
        aligned_weight = of_conflicting / (self.params.balance * of_aligned + 1e-10)
        weight = conflicting + (1 - conflicting) * aligned_weight
        weight = weight / (weight.mean() + 1e-10)
        return (torch.where(self.conflicting.any(), weight, 1) * losses).mean()

    def _scoring_loss(self, batch: Batch) -> dict[str, Tensor]:
        logits = [network(batch.images) for network in self.biased]
        sure = [self._is_sure(each, batch.target) for each in logits]
        sole = _SOLE if self.progress.epoch > 0 else 0.0
        terms = {}
        for own, each in enumerate(logits):
            losses = F.cross_entropy(each, batch.target, reduction="none")
            weight = torch.where(sure[own], torch.where(sure[1 - own], 1.0, sole), 0.0)
            terms[f"biased_{own + 1}"] = (weight * losses).mean()
        return terms

    def _is_sure(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return whether a network is sure of each image, compared with the others of its class in the batch: (N,)."""
        p = probability_of_target(logits, target)
        largest = p.new_zeros(self.task.num_classes).scatter_reduce(0, target, p, "amax")  # (K,)
        return p > self.params.sure * largest[target]


def evenly(chosen: Tensor, generator: torch.Generator) -> Tensor:
    """Return 0..N-1 shuffled such that any stretch holds as large a share of the chosen as there is in all: (N,) int64.

    Args:
        chosen: (N,) bool, on the CPU.
        generator: On the CPU.
    """
    place = torch.empty(len(chosen), dtype=torch.float64)
    for members in (chosen.nonzero()[:, 0], (~chosen).nonzero()[:, 0]):
        shuffled = members[torch.randperm(len(members), generator=generator)]
        offset = torch.rand((), generator=generator, dtype=torch.float64)
        place[shuffled] = (torch.arange(len(members)) + offset) / max(len(members), 1)
    return place.argsort(stable=True)
