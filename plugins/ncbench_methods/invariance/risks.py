"""IRM and V-REx: risks that are small in all environments by the same classifier, and that are equally large."""

from __future__ import annotations

from typing import ClassVar

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from ncbench import Batch, LogUniform, Method
from ncbench_methods.invariance.environments import ComparesEnvironments, EnvironmentParameters, scale_gradients
from ncbench_methods.precision import at_least_float32

_SEARCH_SPACE = {
    **Method.search_space,
    "method.weight": LogUniform(0.1, 1e5),
    "method.anneal": (0.0002, 0.002, 0.02, 0.1, 0.2),
}


class IRMParameters(EnvironmentParameters):
    """Parameters of :class:`IRM`."""

    weight: float = Field(100.0, ge=0, description="weight lambda of the penalty, after that share of the training")
    anneal: float = Field(
        0.1, ge=0, lt=1, description="share of the training, at its start, in which the weight of the penalty is 1"
    )
    rescale: bool = Field(
        False,
        description="divide the loss by a weight above 1, as the authors' code does, so that steps keep their size",
    )


class IRM(ComparesEnvironments):
    """Minimise mean_e R_e + lambda mean_e |d/ds R_e(s f)|^2 at s = 1, IRMv1 (Arjovsky et al., 2019, section 3.1).

    R_e is the mean cross-entropy of environment e's images in the batch. The squared gradient is estimated without bias
    as the product of its means over two halves of these images (appendix D), so that an environment with a single image
    in the batch has no penalty; both means are over the environments that are present. The gradient of an image is
    sum_k p_k z_k - z_y in closed form.

    lambda is 1 at first and `weight` from then on, as in DomainBed, WILDS and SubpopBench, whose default it is. The
    jump comes after a tenth of the training: 500 of the 5,000 steps that a run of DomainBed has, which may be more than
    a short run's. DomainBed starts Adam anew at the jump; here it goes on, as in SubpopBench. The authors' code divides
    the loss by lambda where that is above 1 (`rescale=true`): with SGD, lambda otherwise multiplies the size of the
    steps, too.

    A search tries the ranges of DomainBed and SubpopBench, with 1, 10, 100 and 1,000 of 5,000 steps as shares.

    Supervision: the bias attribute of training images, whose values are the environments.
    """

    Parameters = IRMParameters
    search_space: ClassVar = _SEARCH_SPACE

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the environments' mean risk and the weighted penalty."""
        logits, environments = at_least_float32(self(batch.images)), self.environments(batch)
        losses = F.cross_entropy(logits, batch.target, reduction="none")
        gradients = scale_gradients(logits, batch.target)
        odd, even = (half.means(gradients) for half in environments.halves())
        weight = self.params.weight if self.after(self.params.anneal) else 1.0
        scale = max(weight, 1.0) if self.params.rescale else 1.0
        return {
            "risk": environments.average(environments.means(losses)) / scale,
            "penalty": weight / scale * environments.average(odd * even, fewest=2),
        }


class VRExParameters(EnvironmentParameters):
    """Parameters of :class:`VREx`."""

    weight: float = Field(10.0, ge=0, description="weight beta of the risks' variance, after that share")
    anneal: float = Field(
        0.1, ge=0, lt=1, description="share of the training, at its start, in which the weight of the variance is 1"
    )


class VREx(ComparesEnvironments):
    """Minimise mean_e R_e + beta Var_e(R_e) (Krueger et al., ICML 2021, eq. 8).

    R_e is the mean cross-entropy of environment e's images in the batch; mean and variance are over the environments
    that are present. The paper's term is beta Var(R_1, ..., R_m) beside the sum of the risks; as in DomainBed it is
    beside their mean, the variance divides by the number of environments, beta is 1 for the first tenth of the training
    (500 of its 5,000 steps), and the defaults are those. DomainBed starts Adam anew at the jump; here it goes on.

    A search tries the ranges of DomainBed, with 1, 10, 100 and 1,000 of 5,000 steps as shares.

    Supervision: the bias attribute of training images, whose values are the environments.
    """

    Parameters = VRExParameters
    search_space: ClassVar = _SEARCH_SPACE

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the environments' mean risk and the weighted variance of their risks."""
        environments = self.environments(batch)
        logits = at_least_float32(self(batch.images))
        risks = environments.means(F.cross_entropy(logits, batch.target, reduction="none"))  # (E,)
        mean = environments.average(risks)
        weight = self.params.weight if self.after(self.params.anneal) else 1.0
        return {"risk": mean, "variance": weight * environments.average((risks - mean).square())}
