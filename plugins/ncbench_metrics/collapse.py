"""Neural collapse of the training features, onto the target and onto the bias attribute."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar, Literal

import torch

from ncbench import Evaluation, Metric
from ncbench.collapse import measure


class CollapseMetrics(Metric):
    """NC1 to NC4, the CDNV and the distances to ideal geometries (see :func:`ncbench.collapse.measure`).

    Measured on the training split, on the recipe's log-spaced schedule of epochs. Under the plain names the classes
    are those of the target. Under `bias_` names the bias attribute stands in the target's place, for the features
    alone since the classifier has no rows for it: small values there mean that images gather by the shortcut.

    What is not defined is left out: everything where a feature or a weight is not finite, classifier measures where
    the classifier is not linear, `bias_` measures where the attribute is unknown, and any number that is not finite.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"features"})
    splits: ClassVar[tuple[str, ...]] = ("train",)
    when: ClassVar[Literal["always", "scheduled"]] = "scheduled"

    def compute(self, evaluation: Evaluation) -> Mapping[str, float]:
        """Return the family's metrics."""
        features, weight, bias = evaluation.features, evaluation.weight, evaluation.classifier_bias
        tensors = [tensor for tensor in (features, weight, bias) if tensor is not None]
        if features is None or len(features) == 0 or not all(torch.isfinite(tensor).all() for tensor in tensors):
            return {}
        measures = measure(features, evaluation.target, weight, bias, num_classes=evaluation.num_classes)
        if evaluation.bias is not None:
            of_bias = measure(features, evaluation.bias, num_classes=evaluation.num_bias)
            measures |= {f"bias_{name}": value for name, value in of_bias.items()}
        return {name: value for name, value in measures.items() if math.isfinite(value)}
