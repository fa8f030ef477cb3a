"""Class-balanced loss: classes weighted by the inverse effective number of their images."""

from __future__ import annotations

from typing import ClassVar

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from ncbench import Batch, Method, Parameters
from ncbench_methods.imbalance.class_counts import effective_number_weights


class CBLossParameters(Parameters):
    """Parameters of :class:`CBLoss`."""

    beta: float = Field(0.9999, ge=0, lt=1, description="of the effective number (1 - beta^n) / (1 - beta)")


class CBLoss(Method):
    """Minimise mean[w_y CE(f(x), y)], w_c ~ (1 - beta) / (1 - beta^n_c) (Cui et al., CVPR 2019).

    n_c are the training images of class c, and the weights add to K, as published. beta = 0 is cross-entropy, and as
    beta approaches 1 the weights become those of `reweight:by=class` up to a factor. The mean is over the images of
    the batch, not over their weights. This is the paper's softmax variant; it also has a sigmoid and a focal one.

    A class without training images has weight 0, and the others add to their number. Supervision: none.

    A search tries 1 - beta = 1e-5 to 1e-2, SubpopBench's (Yang et al., ICML 2023) range.
    """

    Parameters = CBLossParameters
    search_space: ClassVar = {**Method.search_space, "method.beta": (0.99, 0.999, 0.9999, 0.99999)}
    class_weight: Tensor

    def build(self) -> None:
        """Create the network and the weight of each class."""
        super().build()
        self.register_buffer("class_weight", effective_number_weights(self.task, self.params.beta).float())  # (K,)

    def loss(self, batch: Batch) -> Tensor:
        """Return the mean weighted cross-entropy."""
        weight = self.class_weight[batch.target]
        return (weight * F.cross_entropy(self(batch.images), batch.target, reduction="none")).mean()
