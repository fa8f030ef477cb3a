"""The prior of the classes given a bias attribute, known or guessed, which a network then need not learn."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def log_conditional(table: Tensor) -> Tensor:
    """Return log pi(y | b) of a table of counts.

    A cell without images is taken to have one, as a class is in `logit_adjustment`, so that every logarithm is finite.

    Args:
        table: (K, B), images of each group (y, b).

    Returns:
        (B, K) float64, on the table's device.
    """
    counts = table.double().clamp_min(1)
    return (counts / counts.sum(dim=0)).log().T


def prior_adjusted_cross_entropy(logits: Tensor, log_prior: Tensor, target: Tensor, eta: float = 1.0) -> Tensor:
    """Return CE(z + eta log pi(. | b), y) of each image: (N,).

    The network learns what the prior does not say; predictions use z alone (Hong and Yang, NeurIPS 2021).

    Args:
        logits: (N, K), z.
        log_prior: (N, K), of each image's b; a constant added to a row changes nothing.
        target: (N,) int64, y.
        eta: Strength; 0 is the plain cross-entropy.
    """
    return F.cross_entropy(logits + eta * log_prior.to(logits), target, reduction="none")
