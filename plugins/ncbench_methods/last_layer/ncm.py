"""Nearest class mean: every image to the class whose training images have the closest mean feature."""

from __future__ import annotations

import torch

from ncbench import SplitView
from ncbench_methods.last_layer.fixed_features import LastLayer

_NEVER = -1e30  # logit of a class without a mean, below every other's


class NCM(LastLayer):
    """Predict argmin_k |h - mu_k|, with mu_k the mean feature of class k's training images (Kang et al., ICLR 2020).

    Since -|h - mu_k|^2 / 2 = mu_k . h - |mu_k|^2 / 2 - |h|^2 / 2, it is the linear classifier with w_k = mu_k and
    b_k = -|mu_k|^2 / 2, and is built as that. A class without training images is never predicted.

    Supervision: none.
    """

    @torch.no_grad()
    def finish(self, train: SplitView, val: SplitView | None) -> None:
        """Average the features of each class."""
        sums = torch.zeros_like(self.classifier.weight, dtype=torch.float64)  # (K, d)
        for features, batch in self.passes(train):
            sums.index_add_(0, batch.target, features.double())
        count = torch.bincount(train.target, minlength=self.task.num_classes)
        means = sums / count.clamp_min(1)[:, None]
        self.set_classifier(means, torch.where(count > 0, -means.square().sum(dim=1) / 2, _NEVER))
