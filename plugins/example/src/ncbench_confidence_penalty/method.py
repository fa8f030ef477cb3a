"""Confidence penalty: cross-entropy that pays for being certain."""

from __future__ import annotations

import torch.nn.functional as F
from ncbench import Batch, Method, Parameters
from pydantic import Field
from torch import Tensor


class ConfidencePenaltyParameters(Parameters):
    """Parameters of :class:`ConfidencePenalty`."""

    beta: float = Field(0.1, ge=0, description="strength of the reward for the predictions' entropy")


class ConfidencePenalty(Method):
    """Minimise CE(f(x), y) - beta H(p), with p = softmax(f(x)) and H its entropy (Pereyra et al., ICLR 2017 workshop).

    Cross-entropy alone pushes p_y towards 1 for ever, by whichever feature is easiest. The entropy pulls back, all the
    more the surer the network is.
    """

    Parameters = ConfidencePenaltyParameters

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the mean cross-entropy and the mean penalty, which is negative."""
        log_p = F.log_softmax(self(batch.images), dim=1)  # (N, K)
        entropy = -(log_p.exp() * log_p).sum(dim=1)  # (N,)
        return {
            "cross_entropy": F.nll_loss(log_p, batch.target),
            "penalty": -self.params.beta * entropy.mean(),
        }
