"""Evaluations of small splits, as a pass of the runner over them gives them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ncbench.conformance.problem import make_hierarchy
from ncbench.contracts.groups import group_counts
from ncbench.contracts.metric import Evaluation, FeatureStream

FEATURES = 6


def splits_of_every_kind() -> Mapping[str, Evaluation]:
    """Return one evaluation of each kind that a run may come across, by what is special about it."""
    target, bias = _labels(5, 3)
    right = _evaluation(target, bias, 5, 3, signal=20.0)
    plain = _evaluation(target, bias, 5, 3)
    kinds = {
        "an ordinary split": plain,
        "the attribute unknown": _evaluation(target, None, 5, 0),
        "the attribute unknown on this split alone": _evaluation(target, None, 5, 3),
        "no alignment of attribute and class": replace(plain, aligned_bias=None),
        "images of one class alone": _evaluation(torch.full_like(target, 2), bias, 5, 3),
        "groups without images": _evaluation(target, target % 2, 5, 3),
        "a single image": _evaluation(target[:1], bias[:1], 5, 3),
        "every image classified right": right,
        "every image classified wrong": _evaluation(target, bias, 5, 3, signal=-20.0),
        "one class in all": _evaluation(torch.zeros_like(target), bias, 1, 3),
        "two classes": _evaluation(target % 2, bias % 2, 2, 2),
        "a hundred classes": _evaluation(*_labels(100, 3), 100, 3),
        "no class hierarchy": replace(plain, hierarchy=None),
        "a classifier that is not linear": replace(plain, weight=None, classifier_bias=None),
        "features that are all the same": replace(plain, features=torch.ones(len(target), FEATURES)),
        "features and logits that are not finite": _not_finite(plain),
    }
    return {
        kind: replace(evaluation, feature_stream=_stream(evaluation, evaluation.features))
        for kind, evaluation in kinds.items()
    }


def without(evaluation: Evaluation, needs: frozenset[str]) -> Evaluation:
    """Return an evaluation that carries no tensor that a family with these needs does not ask for."""
    if "logits" not in needs:
        evaluation = replace(evaluation, logits=None)
    if "feature_stream" not in needs:
        evaluation = replace(evaluation, feature_stream=None)
    if "features" not in needs:
        evaluation = replace(evaluation, features=None)
    if not needs & {"features", "feature_stream"}:
        evaluation = replace(evaluation, weight=None, classifier_bias=None)
    return evaluation


def permuted(evaluation: Evaluation, order: Tensor) -> Evaluation:
    """Return the same evaluation with its images in another order, (N,) int64 positions."""

    def take(values: Tensor | None) -> Tensor | None:
        return None if values is None else values[order]

    taken = replace(
        evaluation,
        target=evaluation.target[order],
        bias=take(evaluation.bias),
        predicted=evaluation.predicted[order],
        logits=take(evaluation.logits),
        features=take(evaluation.features),
    )
    return replace(taken, feature_stream=_stream(taken, take(_held(evaluation))))


def copied(evaluation: Evaluation) -> Evaluation:
    """Return an evaluation with copies of all tensors and arrays."""
    copies: dict[str, Any] = {
        name: value.clone() if isinstance(value, Tensor) else value.copy()
        for name, value in vars(evaluation).items()
        if isinstance(value, Tensor | np.ndarray)
    }
    held = _held(evaluation)
    return replace(evaluation, feature_stream=_stream(evaluation, None if held is None else held.clone()), **copies)


def changed(before: Evaluation, after: Evaluation) -> list[str]:
    """Return the names of the tensors and arrays that differ between two evaluations."""
    pairs = {name: (value, getattr(after, name)) for name, value in vars(before).items()}
    pairs["feature_stream"] = _held(before), _held(after)
    return [
        name
        for name, (value, now) in pairs.items()
        if isinstance(value, Tensor | np.ndarray)
        and not np.array_equal(np.asarray(value), np.asarray(now), equal_nan=True)
    ]


def _labels(num_classes: int, num_bias: int) -> tuple[Tensor, Tensor]:
    """Return targets and attribute values that mostly go along, every group with two images at least."""
    group = torch.arange(num_classes * num_bias).repeat(2)
    target, bias = group // num_bias, group % num_bias
    aligned = torch.arange(num_classes)
    return torch.cat([target, aligned, aligned]), torch.cat([bias, aligned % num_bias, aligned % num_bias])


def _evaluation(
    target: Tensor, bias: Tensor | None, num_classes: int, num_bias: int, signal: float = 1.0
) -> Evaluation:
    """Return an evaluation of random logits to which `signal` is added for the target."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(len(target), num_classes, generator=generator)
    logits[torch.arange(len(target)), target] += signal
    means = torch.randn(num_classes, FEATURES, generator=generator)
    predicted = logits.argmax(dim=1)
    hit = predicted == target
    count = _count(target, bias, num_classes, num_bias)
    return Evaluation(
        split="test",
        num_classes=num_classes,
        num_bias=num_bias,
        target=target,
        bias=bias,
        predicted=predicted,
        count=count,
        correct=_count(target[hit], None if bias is None else bias[hit], num_classes, num_bias),
        train_count=None if bias is None else 2 * count + np.eye(num_classes, num_bias, dtype=np.int64),
        aligned_bias=None if num_bias == 0 else [label % num_bias for label in range(num_classes)],
        hierarchy=make_hierarchy(num_classes, branches=2),
        logits=logits,
        features=means[target] + 0.3 * torch.randn(len(target), FEATURES, generator=generator),
        weight=torch.randn(num_classes, FEATURES, generator=generator),
        classifier_bias=torch.randn(num_classes, generator=generator),
    )


def _held(evaluation: Evaluation) -> Tensor | None:
    """Return the features that an evaluation's stream has in memory."""
    return None if evaluation.feature_stream is None else evaluation.feature_stream.held


def _stream(evaluation: Evaluation, features: Tensor | None) -> FeatureStream | None:
    """Return the stream of features of an evaluation's images."""
    if features is None:
        return None
    return FeatureStream.of(features, evaluation.target, evaluation.bias, evaluation.num_classes, evaluation.num_bias)


def _count(target: Tensor, bias: Tensor | None, num_classes: int, num_bias: int) -> np.ndarray:
    """Return the images of each group: (K, B) int64, (K, 1) where the attribute is unknown."""
    return group_counts(target.numpy(), None if bias is None else bias.numpy(), num_classes, num_bias)


def _not_finite(evaluation: Evaluation) -> Evaluation:
    assert evaluation.logits is not None
    assert evaluation.features is not None
    logits, features = evaluation.logits.clone(), evaluation.features.clone()
    logits[0], features[1, 0] = float("nan"), float("inf")
    return replace(evaluation, logits=logits, features=features)
