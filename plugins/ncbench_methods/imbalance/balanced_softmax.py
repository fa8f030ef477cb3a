"""Balanced softmax: each class's exponential weighs as many times as it has training images."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from ncbench import Batch, Method
from ncbench_methods.imbalance.class_counts import positive_counts


class BalancedSoftmax(Method):
    """Minimise -log(n_y e^{f_y} / sum_c n_c e^{f_c}) (Ren et al., NeurIPS 2020, theorem 1).

    n_c are the training images of class c. Predictions use the plain softmax of f. The factors n_c / N would give the
    same loss, so this equals `logit_adjustment` at tau = 1; both names are kept since both are compared with. Of the
    paper, this is the loss without its meta sampler.

    A class without training images is taken to have one. Supervision: none.
    """

    log_count: Tensor

    def build(self) -> None:
        """Create the network and the logarithm of each class's count."""
        super().build()
        self.register_buffer("log_count", positive_counts(self.task).log().float())  # (K,)

    def loss(self, batch: Batch) -> Tensor:
        """Return the mean negative logarithm of the balanced softmax."""
        return F.cross_entropy(self(batch.images) + self.log_count, batch.target)
