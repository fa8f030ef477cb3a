"""Logit adjustment: the logarithm of the class prior is added to the logits while training."""

from __future__ import annotations

from typing import ClassVar

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from ncbench import Batch, LogUniform, Method, Parameters
from ncbench_methods.imbalance.class_counts import log_prior


class LogitAdjustmentParameters(Parameters):
    """Parameters of :class:`LogitAdjustment`."""

    tau: float = Field(1.0, ge=0, description="strength of the adjustment; 1 is consistent for the balanced error")


class LogitAdjustment(Method):
    """Minimise the cross-entropy of f_c(x) + tau log pi_c (Menon et al., ICLR 2021, eq. 10).

    pi_c is the class's share of the training images. The network learns what the prior does not say; predictions
    use f alone, which at tau = 1 is Bayes-optimal for the balanced error. tau = 0 is plain cross-entropy. This is the
    paper's loss, not its post-hoc correction of a network trained without it.

    A class without training images is taken to have one. Supervision: none.

    A search tries tau from 0.5 to 2, which is this project's choice.
    """

    Parameters = LogitAdjustmentParameters
    search_space: ClassVar = {**Method.search_space, "method.tau": LogUniform(0.5, 2)}
    offset: Tensor

    def build(self) -> None:
        """Create the network and the offset of each class."""
        super().build()
        self.register_buffer("offset", (self.params.tau * log_prior(self.task)).float())  # (K,)

    def loss(self, batch: Batch) -> Tensor:
        """Return the mean cross-entropy of the adjusted logits."""
        return F.cross_entropy(self(batch.images) + self.offset, batch.target)
