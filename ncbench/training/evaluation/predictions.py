"""What a table of predictions is worth: the accuracies and the calibration that follow from it, anyone's or a run's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from ncbench.contracts.errors import ConfigurationError
from ncbench.contracts.groups import group_counts
from ncbench.contracts.metric import Evaluation
from ncbench.data.files import from_home
from ncbench.features.predictions import TYPICAL, Columns, Predictions, read_predictions
from ncbench.training.evaluation.evaluator import compute_metrics, load_metrics

RESAMPLES = 9999
CONFIDENCE = 0.95


@dataclass(frozen=True, eq=False)
class PredictionReport:
    """What follows from the predictions for N images.

    Args:
        class_names: K names.
        bias_names: B names; empty where the bias attribute is unknown.
        count: (K, B) int64, images a group; (K, 1) where the attribute is unknown.
        correct: The same of correctly classified images.
        metrics: By name.
        worst_group_interval: 95 % bootstrap interval of `worst_group_accuracy`; None where the attribute is unknown.
    """

    class_names: Sequence[str]
    bias_names: Sequence[str]
    count: np.ndarray
    correct: np.ndarray
    metrics: dict[str, float]
    worst_group_interval: tuple[float, float] | None


def evaluate(
    predictions: str | Path | Predictions,
    *,
    columns: Columns = TYPICAL,
    split: str | None = None,
    aligned_bias: Sequence[int] | None = None,
) -> PredictionReport:
    """Return every metric that follows from predictions alone: accuracies of groups, and calibration.

    Metric families that need features are left out, and those that need logits where there are no probabilities;
    `adjusted_accuracy` needs the training images' groups, and is left out too.

    Args:
        predictions: A table (see :func:`read_predictions`), a run's folder, or what was read.
        columns: What the table's columns are called.
        split: Which split of a table that has several; None takes test, or the only one.
        aligned_bias: For each class the bias value that goes along with it in training; None takes what the table says.

    Raises:
        DataError: The table is missing or damaged.
        ConfigurationError: The split or a column is not there, or `aligned_bias` does not fit.
        NcbenchError: A metric family failed.
    """
    if not isinstance(predictions, Predictions):
        predictions = read_predictions(from_home(predictions), columns, split)
    if aligned_bias is not None:
        predictions = replace(predictions, aligned_bias=_sound(aligned_bias, predictions))
    num_classes, num_bias = len(predictions.class_names), len(predictions.bias_names)
    target, bias, hit = predictions.target, predictions.bias, predictions.predicted == predictions.target
    count = group_counts(target, bias, num_classes, num_bias)
    correct = group_counts(target[hit], None if bias is None else bias[hit], num_classes, num_bias)
    there = frozenset() if predictions.probability is None else frozenset({"logits"})
    metrics = compute_metrics(
        [each for each in load_metrics().items() if each[1].needs <= there and "test" in each[1].splits],
        Evaluation(
            split="test",
            num_classes=num_classes,
            num_bias=num_bias,
            target=torch.from_numpy(target),
            bias=None if bias is None else torch.from_numpy(bias),
            predicted=torch.from_numpy(predictions.predicted),
            count=count,
            correct=correct,
            train_count=None,
            aligned_bias=None if bias is None else predictions.aligned_bias,
            logits=_logits(predictions.probability),
        ),
    )
    interval = None if bias is None else worst_group_interval(count, correct)
    return PredictionReport(predictions.class_names, predictions.bias_names, count, correct, metrics, interval)


def worst_group_interval(count: np.ndarray, correct: np.ndarray) -> tuple[float, float]:
    """Return the 95 % percentile interval of the worst group's accuracy under the bootstrap (Efron, 1979).

    The images of each group are drawn anew with replacement, as many as there are, and the smallest accuracy of any
    group is taken: 9,999 times, always the same ones. Of images that are right or wrong, the number of right ones in
    such a draw is binomial, which is how it is drawn. The smallest of several noisy accuracies is biased low, so the
    interval need not lie evenly about the accuracy itself.

    Args:
        count: (K, B) integer, images a group; at least one is not 0.
        correct: The same of correctly classified images.
    """
    filled = count > 0
    number, right = count[filled], correct[filled]
    drawn = np.random.default_rng(0).binomial(number, right / number, size=(RESAMPLES, len(number)))
    low, high = np.quantile((drawn / number).min(axis=1), [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)


def _logits(probability: np.ndarray | None) -> torch.Tensor | None:
    """Return logits whose softmax the probabilities are; 0 becomes the smallest number there is, not -inf."""
    if probability is None:
        return None
    return torch.from_numpy(np.log(np.maximum(probability, np.finfo(np.float32).tiny)))


def _sound(aligned_bias: Sequence[int], predictions: Predictions) -> tuple[int, ...]:
    num_classes, num_bias = len(predictions.class_names), len(predictions.bias_names)
    if len(aligned_bias) != num_classes or not all(0 <= value < num_bias for value in aligned_bias):
        raise ConfigurationError(
            f"The aligned bias must be a value from 0 to {num_bias - 1} for each of the {num_classes} classes, not "
            f"{', '.join(map(str, aligned_bias))}."
        )
    return tuple(aligned_bias)
