"""BiasEnsemble: lff whose biased network sees only images that several other biased networks are sure of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal, Self

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor

from ncbench import Batch, ConfigurationError, LogUniform, Published, SplitView, Stage
from ncbench_methods.generalized_cross_entropy import generalized_cross_entropy
from ncbench_methods.two_networks.lff import LfF, LfFParameters
from ncbench_methods.two_networks.networks import probability_of_target

_ENSEMBLE = "ensemble "
_SOURCE = (
    "Lee et al. (AAAI 2023), the published code's README with lff and learner.py: 1,000 steps a network, then 50,000"
)


class BiasEnsembleParameters(LfFParameters):
    """Parameters of :class:`BiasEnsemble`; the defaults are the published code's."""

    networks: int = Field(5, ge=1, description="how many biased networks vote")
    ensemble_epochs: int = Field(5, ge=1, description="epochs of each of them; published: 1,000 steps")
    threshold: float = Field(0.99, ge=0, le=1, description="probability of its class from which an image gets a vote")
    agreement: int = Field(3, ge=1, description="votes that an image needs to be one of those f_B is trained on")
    biased_loss: Literal["generalised", "plain"] = Field(
        "generalised", description="cross-entropy of f_B: generalised, as in lff, or plain, as in the published code"
    )

    @model_validator(mode="after")
    def _can_agree(self) -> Self:
        if self.agreement > self.networks:
            raise ConfigurationError(
                f"bias_ensemble: no image gets agreement={self.agreement} votes from networks={self.networks}. "
                "Give at least as many networks, or ask for fewer votes."
            )
        return self


class BiasEnsemble(LfF):
    """Drop what seems to be conflicting from f_B's training images, so that f_B is more biased (Lee et al., AAAI 2023).

    First, networks are trained for a short time by generalised cross-entropy, one after the other and each from
    scratch. An image whose class at least `agreement` of them give a probability above `threshold` counts as aligned.
    Then lff is trained from scratch, where f_B's loss is the mean over the aligned images of a batch; nothing else
    changes. With a threshold of 0 every image is aligned, and this is lff.

    The published code trains each network for 1,000 steps, the epochs here; takes of each the step of the best accuracy
    on its validation split, here the last; and trains f_B by plain cross-entropy, which is `biased_loss=plain`.

    Supervision: none.
    """

    Parameters = BiasEnsembleParameters
    search_space: ClassVar = {**LfF.search_space, "recipe.lr": LogUniform(1e-5, 1e-2)}
    votes: Tensor
    published: ClassVar[Mapping[str, Published]] = {
        "colored_mnist": Published(
            source=_SOURCE,
            parameters={"ensemble_epochs": 4},
            recipe={"epochs": 213, "batch_size": 256, "optimizer": "adam", "lr": 0.01, "weight_decay": 0.0},
        ),
        "bffhq": Published(
            source=_SOURCE,
            parameters={"ensemble_epochs": 3},
            recipe={"epochs": 167, "batch_size": 64, "optimizer": "adam", "lr": 1e-4, "weight_decay": 0.0},
            backbone="resnet18",
        ),
        "bar": Published(
            source=_SOURCE,
            parameters={"ensemble_epochs": 33},
            recipe={"epochs": 1667, "batch_size": 64, "optimizer": "adam", "lr": 1e-5, "weight_decay": 0.0},
            backbone="resnet18:weights=imagenet",
        ),
    }

    def build(self) -> None:
        """Create the networks of lff, and the votes for each training image."""
        super().build()
        self.register_buffer("votes", torch.zeros(self.task.num_train, dtype=torch.int64))  # (N,)

    def stages(self, epochs: int) -> Sequence[Stage]:
        """Return the training of each network that votes, and that of lff."""
        voters = [Stage(f"{_ENSEMBLE}{k + 1}", self.params.ensemble_epochs) for k in range(self.params.networks)]
        return [*voters, Stage("train", epochs)]

    def start_stage(self, stage: Stage, train: SplitView, val: SplitView | None) -> None:
        """Let the network that was trained vote, and start from scratch with another."""
        if stage.name != f"{_ENSEMBLE}1":
            votes = self.votes + self.sure(train)
            self.build()
            self.votes = votes

    @torch.no_grad()
    def sure(self, train: SplitView) -> Tensor:
        """Return of which training images the biased network is sure: (N,) bool."""
        self.eval()
        each = [probability_of_target(self.biased(batch.images), batch.target) for batch in train.batches()]
        return torch.cat(each) >= self.params.threshold

    def loss(self, batch: Batch) -> Tensor | dict[str, Tensor]:
        """Return the biased network's loss while it is to vote, and lff's afterwards."""
        if self.progress.stage.startswith(_ENSEMBLE):
            return generalized_cross_entropy(self.biased(batch.images), batch.target, self.params.q).mean()
        return super().loss(batch)

    def biased_loss(self, logits: Tensor, batch: Batch) -> Tensor:
        """Return the mean of f_B's loss over the batch's aligned images, 0 without any."""
        if self.params.biased_loss == "plain":
            losses = F.cross_entropy(logits, batch.target, reduction="none")
        else:
            losses = generalized_cross_entropy(logits, batch.target, self.params.q)
        aligned = (self.votes[batch.index] >= self.params.agreement).to(losses)
        return (aligned * losses).sum() / aligned.sum().clamp_min(1)
