"""Disentangled feature augmentation: intrinsic features paired with the bias features of other images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from ncbench import Batch, Published, Stage
from ncbench_methods.augmentation.mixing import draws_of_step
from ncbench_methods.generalized_cross_entropy import generalized_cross_entropy
from ncbench_methods.search_spaces import NO_DECAY
from ncbench_methods.two_networks.difficulty import WeighsByDifficulty
from ncbench_methods.two_networks.lff import LfFParameters


class DisEntParameters(LfFParameters):
    """Parameters of :class:`DisEnt`, with the paper's symbols in brackets."""

    biased_weight: float = Field(10.0, ge=0, description="weight of the bias classifier's loss [lambda_dis]")
    swap_weight: float = Field(1.0, ge=0, description="weight of the losses on swapped features [lambda_swap]")
    swap_biased_weight: float | None = Field(
        None,
        ge=0,
        description="weight of the bias classifier's loss among those on swapped features [lambda_swap_b]; none for "
        "biased_weight, as published",
    )
    swap_after: float = Field(0.2, ge=0, lt=1, description="share of the epochs before features are swapped")


class DisEnt(WeighsByDifficulty):
    """Two encoders, two classifiers on both their features, and features swapped between images (algorithm 1).

    An encoder of intrinsic features z_i and one of bias features z_b; classifiers C_i and C_b read z = [z_i, z_b]. The
    loss of C_i does not reach the bias encoder, nor C_b's the intrinsic one. With W of lff (eq. 1) it is (eq. 2 to 4)

        W CE(C_i(z), y) + lambda_dis GCE(C_b(z), y)

    and, once the features are disentangled, plus lambda_swap times the same of z~ = [z_i, z_b of another image], where
    that image's class y~ is C_b's target: W CE(C_i(z~), y) + lambda_swap_b GCE(C_b(z~), y~).

    Predictions are C_i([z_i, z_b]): both encoders act at test, and `features` has twice the backbone's dimensions. The
    published code swaps features after 10,000 of 50,000 steps; here it is a share of the epochs. It lowers the learning
    rate every 10,000 steps from then on: so the rest is a stage of its own, whose schedule counts from its start. (Its
    optimizer starts anew, too; the code's goes on.) GCE is the paper's, 1/q times the code's, as in lff.

    Published settings of corrupted CIFAR-10 are those for 1 and 2 % of conflicting images; 0.5 % takes lr 5e-4 and both
    weights 1, 5 % both weights 1. The authors withdrew their numbers on BAR as too sensitive to the learning rate.
    A search tries the weights that they use.

    Supervision: none.
    """

    Parameters = DisEntParameters
    learns_features = True
    published: ClassVar[Mapping[str, Published]] = {
        "colored_mnist": Published(
            source="Lee et al. (NeurIPS 2021), the published code: 50,000 steps",
            recipe={
                **{"epochs": 213, "batch_size": 256, "optimizer": "adam", "lr": 0.01, "weight_decay": 0.0},
                **{"schedule": "step", "schedule_every": 43, "schedule_factor": 0.5},
            },
        ),
        "corrupted_cifar10": Published(
            source="Lee et al. (NeurIPS 2021), the published code for 1 %: 50,000 steps",
            parameters={"biased_weight": 5.0},
            recipe={
                **{"epochs": 255, "batch_size": 256, "optimizer": "adam", "lr": 1e-3, "weight_decay": 0.0},
                **{"schedule": "step", "schedule_every": 51, "schedule_factor": 0.5},
            },
            backbone="resnet18",
        ),
        "bffhq": Published(
            source="Lee et al. (NeurIPS 2021), the published code's README and, of the batch, learner.py: 50,000 steps",
            parameters={"biased_weight": 2.0, "swap_weight": 0.1},
            recipe={
                **{"epochs": 167, "batch_size": 64, "optimizer": "adam", "lr": 1e-4, "weight_decay": 0.0},
                **{"schedule": "step", "schedule_every": 33, "schedule_factor": 0.1},
            },
            backbone="resnet18",
        ),
    }
    search_space: ClassVar = {
        **NO_DECAY,
        "method.biased_weight": (1.0, 2.0, 5.0, 10.0),
        "method.swap_weight": (0.1, 1.0),
    }

    def build(self) -> None:
        """Create the two encoders and the two classifiers."""
        super().build()
        self.biased_backbone = self.make_backbone()
        both = self.backbone.feature_dim + self.biased_backbone.feature_dim
        self.classifier = nn.Linear(both, self.task.num_classes)
        self.backbone.init_classifier(self.classifier)
        self.biased_classifier = nn.Linear(both, self.task.num_classes)
        self.biased_backbone.init_classifier(self.biased_classifier)

    def stages(self, epochs: int) -> Sequence[Stage]:
        """Return the training before features are swapped, and the rest."""
        before = round(self.params.swap_after * epochs)
        return [Stage("disentangle", before), Stage("swap", epochs - before)]

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the losses of C_i and C_b, on z and, in the second stage, on swapped features."""
        intrinsic, biased = self.backbone(batch.images), self.biased_backbone(batch.images)  # z_i and z_b, (N, d) each
        logits, biased_logits = self._logits(intrinsic, biased)
        loss = F.cross_entropy(logits, batch.target, reduction="none")
        loss_biased = F.cross_entropy(biased_logits, batch.target, reduction="none")
        weight = self.relative_difficulty(loss_biased, loss, batch)
        p, q = self.params, self.params.q
        terms = {
            "intrinsic": (weight * loss).mean(),
            "biased": p.biased_weight * generalized_cross_entropy(biased_logits, batch.target, q).mean(),
        }
        if self.progress.stage == "swap":
            other = self.partners(len(batch)).to(batch.target.device)
            logits, biased_logits = self._logits(intrinsic, biased[other])
            swapped = weight * F.cross_entropy(logits, batch.target, reduction="none")
            swapped_biased = generalized_cross_entropy(biased_logits, batch.target[other], q)
            terms["swap_intrinsic"] = p.swap_weight * swapped.mean()
            biased_weight = p.biased_weight if p.swap_biased_weight is None else p.swap_biased_weight
            terms["swap_biased"] = p.swap_weight * biased_weight * swapped_biased.mean()
        return terms

    def partners(self, number: int) -> Tensor:
        """Return whose bias features each image of a batch is paired with: a permutation, (N,) int64 on the CPU."""
        return torch.from_numpy(draws_of_step(self, "swap").permutation(number))

    def _logits(self, intrinsic: Tensor, biased: Tensor) -> tuple[Tensor, Tensor]:
        """Return C_i's and C_b's logits of paired features, each with the other encoder's held constant."""
        of_intrinsic = torch.cat([intrinsic, biased.detach()], dim=1)
        of_biased = torch.cat([intrinsic.detach(), biased], dim=1)
        return self.classifier(of_intrinsic), self.biased_classifier(of_biased)

    def features(self, images: Tensor) -> Tensor:
        """Return [z_i, z_b]: (N, C, H, W) -> (N, 2 d)."""
        return torch.cat([self.backbone(images), self.biased_backbone(images)], dim=1)
