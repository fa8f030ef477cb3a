"""Generalised cross-entropy, the loss that makes a network trust what it finds easy."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def generalized_cross_entropy(logits: Tensor, target: Tensor, q: float) -> Tensor:
    """Return (1 - p_y^q) / q of each image (Zhang and Sabuncu, NeurIPS 2018, eq. 6).

    Its gradient is the cross-entropy's times p_y^q. Computed from log p_y, so that it stays exact as p_y goes to 0,
    where the gradient of p_y^q itself is infinite.

    Args:
        logits: (N, K).
        target: (N,) int64 in 0..K-1.
        q: In (0, 1]; towards 0 it becomes the cross-entropy, 1 is the mean absolute error.

    Returns:
        (N,), the losses.
    """
    log_p = -F.cross_entropy(logits, target, reduction="none")
    return -torch.expm1(q * log_p) / q
