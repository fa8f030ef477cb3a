"""Neural collapse of the training features, onto the target and onto the bias attribute."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar, Literal

import torch

from ncbench import Evaluation, Metric
from ncbench.collapse import ResidualStatistics, measure_residuals


class CollapseMetrics(Metric):
    """NC1 to NC4, the CDNV and the distances to ideal geometries (see :func:`ncbench.collapse.measure`).

    Measured on the training split, on the recipe's log-spaced schedule of epochs. Under the plain names the classes
    are those of the target. Under `bias_` names the bias attribute stands in the target's place, for the features
    alone since the classifier has no rows for it: small values there mean that images gather by the shortcut.

    What is not defined is left out: everything where a feature or a weight is not finite, classifier measures where
    the classifier is not linear, `bias_` measures where the attribute is unknown, and any number that is not finite.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"feature_stream"})
    splits: ClassVar[tuple[str, ...]] = ("train",)
    when: ClassVar[Literal["always", "scheduled"]] = "scheduled"

    def compute(self, evaluation: Evaluation) -> Mapping[str, float]:
        """Return the family's metrics."""
        stream, weight, bias = evaluation.feature_stream, evaluation.weight, evaluation.classifier_bias
        if stream is None or not stream.finite:
            return {}
        if not all(bool(torch.isfinite(tensor).all()) for tensor in (weight, bias) if tensor is not None):
            return {}
        means = {"": stream.by_target.means}
        residuals = {"": ResidualStatistics(means[""], weight, bias)}
        labels = {"": evaluation.target}
        if stream.by_bias is not None and evaluation.bias is not None:
            means["bias_"], labels["bias_"] = stream.by_bias.means, evaluation.bias
            residuals["bias_"] = ResidualStatistics(means["bias_"])
        for rows, features in stream.batches():
            for prefix, statistics in residuals.items():
                statistics.update(features, labels[prefix][rows])
        measures = {
            f"{prefix}{name}": value
            for prefix, statistics in residuals.items()
            for name, value in measure_residuals(means[prefix], statistics, None if prefix else weight).items()
        }
        return {name: value for name, value in measures.items() if math.isfinite(value)}
