"""How well predicted probabilities match what happens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from ncbench import Evaluation, Metric

BINS = 15
"""Equal-width bins of the expected calibration error, as in Guo et al. (ICML 2017)."""
_ENTRIES = 2**22  # of a temporary: images are taken in runs so that many classes need no more memory


class CalibrationMetrics(Metric):
    """Measures of the softmax probabilities p, in float64, every image at the same weight.

    - `ece`: expected calibration error of the predicted class (Guo et al., ICML 2017, eq. 3), 15 bins of equal width,
      each closed on the right, (i/15, (i+1)/15]: sum over bins of their share of the images times
      |accuracy - mean confidence|. In [0, 1].
    - `brier`: mean over images of sum_c (p_c - [y = c])^2 (Brier, 1950). In [0, 2]: for two classes twice the
      one-sided score.
    - `loss`: mean over images of -log p_y, the cross-entropy in nats, whatever the method's own loss is.
    - `auroc`: two classes only: the probability that an image of class 1 has a larger p_1 than one of class 0, ties
      counted as a half. Left out where one of the two classes has no images.

    Nothing is defined on a split without images or where a logit is not finite; then all are left out. The training
    split is left out too: the logits of its images on thousands of classes would not fit into memory.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"logits"})
    splits: ClassVar[tuple[str, ...]] = ("val", "test")

    def compute(self, evaluation: Evaluation) -> Mapping[str, float]:
        """Return the family's metrics."""
        logits, target = evaluation.logits, evaluation.target
        if logits is None or len(target) == 0 or not torch.isfinite(logits).all():
            return {}
        confidence = torch.empty(len(target), dtype=torch.float64, device=logits.device)
        brier = torch.zeros((), dtype=torch.float64, device=logits.device)
        loss = torch.zeros((), dtype=torch.float64, device=logits.device)
        rows = max(1, _ENTRIES // evaluation.num_classes)
        for start in range(0, len(target), rows):
            part = slice(start, start + rows)
            of_part = logits[part].double()  # (rows, K)
            loss += F.cross_entropy(of_part, target[part], reduction="sum")  # of the logits: p may be 0
            p = of_part.softmax(dim=1)  # (rows, K)
            confidence[part] = p.amax(dim=1)
            p[torch.arange(len(p), device=p.device), target[part]] -= 1
            brier += p.square_().sum()
        metrics = {
            "ece": expected_calibration_error(confidence, evaluation.predicted == target),
            "brier": brier.item() / len(target),
            "loss": loss.item() / len(target),
        }
        if evaluation.num_classes == 2 and 0 < int(target.sum()) < len(target):
            # The order of p_1 is that of the difference of the logits, which does not saturate.
            metrics["auroc"] = area_under_roc(logits[:, 1].double() - logits[:, 0].double(), target == 1)
        return metrics


def expected_calibration_error(confidence: Tensor, correct: Tensor) -> float:
    """Return the expected calibration error over `BINS` bins.

    Args:
        confidence: (N,) in (0, 1], the predicted class's probability.
        correct: (N,) bool, whether the prediction is right.
    """
    bin_of = (torch.ceil(confidence * BINS).long() - 1).clamp(0, BINS - 1)  # (N,)
    excess = torch.zeros(BINS, dtype=confidence.dtype, device=confidence.device)
    # |accuracy - confidence| times the bin's share is |sum of (correct - confidence)| / N: empty bins take no care.
    excess.index_add_(0, bin_of, correct.to(confidence) - confidence)
    return excess.abs().sum().item() / len(confidence)


def area_under_roc(score: Tensor, positive: Tensor) -> float:
    """Return the share of pairs (positive, negative) in which the positive has the larger score, ties a half.

    Args:
        score: (N,).
        positive: (N,) bool, with at least one entry of either kind.
    """
    _, rank, count = torch.unique(score, return_inverse=True, return_counts=True)  # equal scores share a rank
    below = count.cumsum(0) - count
    mid_rank = (below + (count - 1) / 2)[rank].double()  # (N,), from 0
    positives = int(positive.sum())
    negatives = len(positive) - positives
    positives_above = mid_rank[positive].sum().item() - positives * (positives - 1) / 2
    return float(positives_above / (positives * negatives))
