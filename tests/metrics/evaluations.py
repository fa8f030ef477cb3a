"""Evaluations built from labels, as a pass over a split would give them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ncbench import Evaluation, FeatureStream


def count_cells(target: Sequence[int], bias: Sequence[int] | None, num_classes: int, num_bias: int) -> np.ndarray:
    """Count images a cell, one at a time: (K, B), or (K, 1) without a bias attribute."""
    cells = np.zeros((num_classes, num_bias if bias is not None else 1), dtype=np.int64)
    for position, y in enumerate(target):
        cells[y, 0 if bias is None else bias[position]] += 1
    return cells


def make_evaluation(
    target: Sequence[int],
    predicted: Sequence[int],
    bias: Sequence[int] | None,
    num_classes: int,
    num_bias: int,
    *,
    train_count: np.ndarray | None = None,
    aligned_bias: Sequence[int] | None = None,
    split: str = "test",
    **tensors: Tensor | None,
) -> Evaluation:
    right = [position for position, y in enumerate(target) if predicted[position] == y]
    labels = torch.as_tensor(target, dtype=torch.int64)
    values = None if bias is None else torch.as_tensor(bias, dtype=torch.int64)
    features = tensors.get("features")
    stream = None if features is None else FeatureStream.of(features, labels, values, num_classes, num_bias)
    return Evaluation(
        split=split,
        num_classes=num_classes,
        num_bias=num_bias,
        target=labels,
        bias=values,
        feature_stream=stream,
        predicted=torch.as_tensor(predicted, dtype=torch.int64),
        count=count_cells(target, bias, num_classes, num_bias),
        correct=count_cells(
            [target[i] for i in right], None if bias is None else [bias[i] for i in right], num_classes, num_bias
        ),
        train_count=train_count,
        aligned_bias=aligned_bias,
        **tensors,
    )
