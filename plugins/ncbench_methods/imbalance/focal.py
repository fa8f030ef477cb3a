"""Focal loss: images that are classified well weigh less."""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from ncbench import Batch, LogUniform, Method, Parameters


class FocalParameters(Parameters):
    """Parameters of :class:`Focal`."""

    gamma: float = Field(2.0, ge=0, description="focusing strength (eq. 4); 0 is cross-entropy")


class Focal(Method):
    """Minimise mean[-(1 - p_y)^gamma log p_y], p the softmax (Lin et al., ICCV 2017, eq. 4).

    The paper's problem is binary, with a factor alpha for its foreground class; with K classes that factor would be
    a class weight, which is `cb_loss`. Supervision: none.

    A search tries 0.5 to 5 for gamma, as SubpopBench (Yang et al., ICML 2023) does.
    """

    Parameters = FocalParameters
    search_space: ClassVar = {**Method.search_space, "method.gamma": LogUniform(0.5, 5)}

    def loss(self, batch: Batch) -> Tensor:
        """Return the mean focal loss."""
        return focal_loss(self(batch.images), batch.target, self.params.gamma).mean()


def focal_loss(logits: Tensor, target: Tensor, gamma: float) -> Tensor:
    """Return -(1 - p_y)^gamma log p_y of each image.

    Args:
        logits: (N, K).
        target: (N,) int64 in 0..K-1.
        gamma: Not negative.

    Returns:
        (N,), the losses.
    """
    cross_entropy = F.cross_entropy(logits, target, reduction="none")  # -log p_y
    # 1 - p_y without cancellation. Where p_y rounds to 1 the power of a gamma below 1 has no finite slope, but the
    # loss is flat there: the clamp gives it the value 0 and the gradient 0.
    missed = (-torch.expm1(-cross_entropy)).clamp_min(torch.finfo(cross_entropy.dtype).tiny)
    return missed**gamma * cross_entropy
