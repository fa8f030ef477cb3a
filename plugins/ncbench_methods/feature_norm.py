"""BatchNorm in front of a frozen classifier."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class FeatureNorm(nn.BatchNorm1d):
    """BatchNorm of feature vectors, (N, d) -> (N, d), that a last batch of one image does not stop.

    One image has no variance of its own: in training it is normalised by the running statistics, which it leaves as
    they are.
    """

    def forward(self, features: Tensor) -> Tensor:
        """Return the normalised features."""
        if self.training and len(features) == 1:
            return F.batch_norm(
                features, self.running_mean, self.running_var, self.weight, self.bias, training=False, eps=self.eps
            )
        return super().forward(features)
