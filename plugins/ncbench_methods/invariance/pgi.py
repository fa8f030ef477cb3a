"""PGI: within a class, the mean prediction is to be the same in every environment."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from ncbench import Batch, LogUniform, Method
from ncbench_methods.balancing.cells import cell_of
from ncbench_methods.invariance.environments import ComparesEnvironments, EnvironmentParameters, Environments
from ncbench_methods.precision import at_least_float32


class PGIParameters(EnvironmentParameters):
    """Parameters of :class:`PGI`."""

    weight: float = Field(50.0, ge=0, description="weight of the predictions' divergence, after the ramp")
    ramp_epochs: int = Field(5, ge=0, description="epochs over which that weight grows linearly from 0")


class PGI(ComparesEnvironments):
    """Minimise mean_e R_e + w (1/K) sum_y D_y, D_y of a class's mean predictions (Ahmed et al., ICLR 2021).

    q_ye is the mean softmax of the batch's images of class y in environment e, and of two environments, of which the
    second is the one with the harder images, D_y = mean_k q_y1 log(q_y1 / q_y0): their divergence from the first to the
    second over K. With more environments D_y is its mean over pairs, each with the higher number second; a class that
    the batch has in one environment alone adds nothing. The published code has 1/K before the sum on COCO and not on
    MNIST, where it also keeps the penalty's gradient from the classifier. w grows linearly over `ramp_epochs`.

    The paper infers two groups for each class after an epoch of training; here the environments are the values of the
    bias attribute, or inferred groups (`--groups`). The defaults are those of the paper's coloured MNIST.
    SpuCo's version adds the term of the last class alone, and takes probabilities for their logarithms.

    Supervision: the bias attribute of training images; with inferred groups, that of the inference.
    """

    Parameters = PGIParameters
    search_space: ClassVar = {**Method.search_space, "method.weight": LogUniform(1, 500)}

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the environments' mean risk and the weighted divergence of their predictions."""
        logits, environments = at_least_float32(self(batch.images)), self.environments(batch)
        losses = F.cross_entropy(logits, batch.target, reduction="none")
        shape = (self.task.num_classes, self.task.num_bias)
        groups = Environments.of(cell_of(batch, self.task, "group"), math.prod(shape))
        predictions = groups.means(logits.softmax(dim=1)).unflatten(0, shape)  # (K, B, K)
        divergence = group_divergence(predictions, groups.count.unflatten(0, shape) > 0)
        return {
            "risk": environments.average(environments.means(losses)),
            "divergence": self.divergence_weight() * divergence,
        }

    def divergence_weight(self) -> float:
        """Return w, as far as the ramp has come at this step."""
        epochs = self.progress.epoch + (self.progress.step + 1) / max(self.progress.steps, 1)
        ramp = self.params.ramp_epochs
        return float(self.params.weight * (min(1.0, epochs / ramp) if ramp else 1.0))


def group_divergence(predictions: Tensor, present: Tensor) -> Tensor:
    """Return the mean over classes of the mean over pairs of environments e < f of mean_k q_f log(q_f / q_e).

    Args:
        predictions: (K, B, K), the mean probabilities q of each class's images in each environment.
        present: (K, B) bool, whether there are any; where there are not, predictions are ignored.
    """
    q = torch.where(present[:, :, None], predictions, 1.0).clamp_min(1e-12)
    entropy = (q * q.log()).mean(dim=2)  # (K, B)
    with torch.autocast(q.device.type, enabled=False):
        cross = q @ q.log().transpose(1, 2) / q.shape[2]  # (K, B, B), of f and e
    pairs = (present[:, :, None] & present[:, None]).tril(diagonal=-1)
    divergences = torch.where(pairs, entropy[:, :, None] - cross, 0.0).sum(dim=(1, 2))
    return (divergences / pairs.sum(dim=(1, 2)).clamp_min(1)).mean()
