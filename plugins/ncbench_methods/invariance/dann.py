"""DANN: features from which an adversary cannot tell the environment."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from ncbench import Batch, LogUniform, Method
from ncbench_methods.invariance.environments import ComparesEnvironments, EnvironmentParameters, Environments
from ncbench_methods.precision import at_least_float32


class DANNParameters(EnvironmentParameters):
    """Parameters of :class:`DANN`."""

    weight: float = Field(
        1.0, ge=0, description="weight lambda of the adversary's gradient in the backbone, at the end"
    )
    warm_up: bool = Field(
        True,
        description="let the weight grow from 0 as 2 / (1 + exp(-10 p)) - 1, p the part of the training that is done",
    )
    conditional: bool = Field(
        False, description="tell the adversary the class, and let every class in the batch count the same for it"
    )


class DANN(ComparesEnvironments):
    """Minimise CE(y), while a discriminator of the environment learns from h and h against it (Ganin et al., 2016).

    The discriminator minimises CE(D(h), e); its gradient enters the backbone times -lambda (section 4.2). One step
    serves both players. DomainBed alternates between them, which is the same gradient at half the step count of each.
    lambda grows to `weight` as in the paper (section 5.2.2); DomainBed and WILDS keep it constant (`warm_up=false`).

    D is a perceptron with two hidden layers of 256, without weight decay, as in DomainBed, which trains it by an Adam
    with beta_1 = 0.5; here it has the recipe's optimizer. `conditional=true` is its CDANN (Li et al., ECCV 2018): D
    sees h plus an embedding of the class, and its loss is the mean of the means of the classes in the batch.

    A search tries the range of DomainBed for the weight.

    Supervision: the bias attribute of training images, whose values are the environments.
    """

    Parameters = DANNParameters
    learns_features = True
    search_space: ClassVar = {**Method.search_space, "method.weight": LogUniform(0.01, 100)}

    def build(self) -> None:
        """Create the network and the discriminator."""
        super().build()
        d = self.backbone.feature_dim
        layers = [nn.Linear(d, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, self.task.num_bias)]
        self.discriminator = nn.Sequential(*layers)
        self.class_embedding = nn.Embedding(self.task.num_classes, d) if self.params.conditional else None

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return the network's parameters, and the discriminator's without weight decay."""
        network = [*self.backbone.parameters(), *self.classifier.parameters()]
        adversary = [*self.discriminator.parameters()]
        if self.class_embedding is not None:
            adversary += self.class_embedding.parameters()
        return [{"params": network}, {"params": adversary, "weight_decay": 0.0}]

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the mean cross-entropies of the class and, with its gradient reversed, of the environment."""
        features = self.features(batch.images)
        seen = reversed_gradient(features, self.adversary_weight())
        if self.class_embedding is not None:
            seen = seen + self.class_embedding(batch.target)
        losses = F.cross_entropy(at_least_float32(self.discriminator(seen)), batch.bias, reduction="none")
        if self.params.conditional:
            classes = Environments.of(batch.target, self.task.num_classes)
            adversary = classes.average(classes.means(losses))
        else:
            adversary = losses.mean()
        return {"cross_entropy": F.cross_entropy(self.classify(features), batch.target), "adversary": adversary}

    def adversary_weight(self) -> float:
        """Return lambda."""
        weight: float = self.params.weight
        if not self.params.warm_up:
            return weight
        return weight * (2 / (1 + math.exp(-10 * self.epochs_done() / max(self.progress.epochs, 1))) - 1)


def reversed_gradient(values: Tensor, weight: float) -> Tensor:
    """Return the same values, whose gradient is multiplied with -`weight` on its way back."""
    same = values.clone()
    same.register_hook(lambda gradient: -weight * gradient)
    return same
