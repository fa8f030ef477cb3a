"""Risk extrapolation: equal risks in all environments."""

from __future__ import annotations

from typing import ClassVar

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from ncbench import Batch, LogUniform, Method
from ncbench_methods.invariance.environments import ComparesEnvironments, EnvironmentParameters, in_full


class VRExParameters(EnvironmentParameters):
    """Parameters of :class:`VREx`."""

    weight: float = Field(10.0, ge=0, description="weight beta of the risks' variance, after the first steps")
    anneal_steps: int = Field(500, ge=0, description="steps at the start in which the weight of the variance is 1")


class VREx(ComparesEnvironments):
    """Minimise mean_e R_e + beta Var_e(R_e) (Krueger et al., ICML 2021, eq. 8).

    R_e is the mean cross-entropy of environment e's images in the batch; mean and variance are over the environments
    that are present. The paper's term is beta Var(R_1, ..., R_m) beside the sum of the risks; as in DomainBed it is
    beside their mean, the variance divides by the number of environments, beta is 1 for the first `anneal_steps` steps,
    and the defaults are those. DomainBed starts Adam anew at the jump; here it goes on.

    A search tries the ranges of DomainBed, the steps in powers of ten.

    Supervision: the bias attribute of training images, whose values are the environments.
    """

    Parameters = VRExParameters
    search_space: ClassVar = {
        **Method.search_space,
        "method.weight": LogUniform(0.1, 1e5),
        "method.anneal_steps": (1, 10, 100, 1000, 10000),
    }

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the environments' mean risk and the weighted variance of their risks."""
        environments = self.environments(batch)
        risks = environments.means(F.cross_entropy(in_full(self(batch.images)), batch.target, reduction="none"))  # (E,)
        mean = environments.average(risks)
        weight = self.params.weight if self.after(self.params.anneal_steps) else 1.0
        return {"risk": mean, "variance": weight * environments.average((risks - mean).square())}
