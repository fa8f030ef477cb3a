"""The vector-scaling loss: logits multiplied and shifted class by class while training."""

from __future__ import annotations

from typing import ClassVar

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from ncbench import Batch, LogUniform, Method, Parameters, Uniform
from ncbench_methods.imbalance.class_counts import log_prior, positive_counts


class VSLossParameters(Parameters):
    """Parameters of :class:`VSLoss`; the defaults are those of the published code."""

    gamma: float = Field(0.3, ge=0, description="exponent of the factors Delta_c = (n_c / n_max)^gamma")
    tau: float = Field(1.0, ge=0, description="strength of the offsets iota_c = tau log pi_c")


class VSLoss(Method):
    """Minimise the cross-entropy of Delta_c f_c(x) + iota_c (Kini et al., NeurIPS 2021).

    With n_c the training images of class c and pi_c its share of them,

        Delta_c = (n_c / n_max)^gamma,    iota_c = tau log pi_c.

    The offsets act early in training and the factors in its terminal phase, where they alone change the direction
    that the classifier converges to. gamma = 0 is `logit_adjustment`; tau = 0 is the class-dependent temperature loss
    (CDT; Ye et al., 2020). The class weights omega_y of the general form are 1 here.
    Predictions use f alone.

    A class without training images is taken to have one. Supervision: none.

    A search tries gamma from 0.05 to 0.5 and tau from 0.5 to 2, which is this project's choice.
    """

    Parameters = VSLossParameters
    search_space: ClassVar = {
        **Method.search_space,
        "method.gamma": Uniform(0.05, 0.5),
        "method.tau": LogUniform(0.5, 2),
    }
    factor: Tensor
    offset: Tensor

    def build(self) -> None:
        """Create the network, and the factor and the offset of each class."""
        super().build()
        counts = positive_counts(self.task)
        self.register_buffer("factor", ((counts / counts.max()) ** self.params.gamma).float())  # (K,) Delta
        self.register_buffer("offset", (self.params.tau * log_prior(self.task)).float())  # (K,) iota

    def loss(self, batch: Batch) -> Tensor:
        """Return the mean cross-entropy of the scaled and shifted logits."""
        return F.cross_entropy(self.factor * self(batch.images) + self.offset, batch.target)
