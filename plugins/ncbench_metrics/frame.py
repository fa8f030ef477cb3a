"""How closely the class means reproduce the angles of the classifier."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F

from ncbench import Evaluation, Metric

_ROWS = 512  # of the K x K cosines, taken at a time


class FrameMetrics(Metric):
    """Frame fidelity: cos(mu_i, mu_j) - cos(w_i, w_j) over the pairs i < j of classes (Liang and Davis, ICCV 2023).

    mu_c are the mean training features of class c, as they are: a hierarchy-aware frame W does not sum to zero, and
    features collapse onto W itself, so nothing is subtracted.

    - `frame_fidelity_mean`, `frame_fidelity_std`: mean and (population) standard deviation of the differences.
    - `frame_fidelity_deviation`: mean of their absolute values, which the published code reports as their mean.

    Measured on the recipe's log-spaced schedule of epochs. Classes without images, and those whose mean or weight is
    exactly zero, have no angle and take no part. All are left out where there is no hierarchy or no linear classifier,
    with fewer than two classes, and where a feature or weight is not finite.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"feature_stream"})
    splits: ClassVar[tuple[str, ...]] = ("train",)
    when: ClassVar[Literal["always", "scheduled"]] = "scheduled"

    def compute(self, evaluation: Evaluation) -> Mapping[str, float]:
        """Return the family's metrics."""
        stream, weight = evaluation.feature_stream, evaluation.weight
        if evaluation.hierarchy is None or stream is None or weight is None:
            return {}
        if not (stream.finite and torch.isfinite(weight).all()):
            return {}
        sums = stream.by_target.sums  # (K, d), in the direction of the means
        classifier = weight.detach().double()
        kept = (sums != 0).any(dim=1) & (classifier != 0).any(dim=1)
        pairs = math.comb(int(kept.sum()), 2)
        if pairs == 0:
            return {}
        means, classifier = F.normalize(sums[kept], dim=1), F.normalize(classifier[kept], dim=1)
        total, absolute, squared = 0.0, 0.0, 0.0
        for start in range(0, len(means), _ROWS):
            # rows start..start + _ROWS against the classes after them: (rows, classes from start)
            gap = (
                means[start : start + _ROWS] @ means[start:].T
                - classifier[start : start + _ROWS] @ classifier[start:].T
            )
            gap = gap.triu(diagonal=1)
            total += gap.sum().item()
            absolute += gap.abs().sum().item()
            squared += gap.square().sum().item()
        mean = total / pairs
        return {
            "frame_fidelity_mean": mean,
            "frame_fidelity_std": math.sqrt(max(squared / pairs - mean**2, 0.0)),
            "frame_fidelity_deviation": absolute / pairs,
        }
