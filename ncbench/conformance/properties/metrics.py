"""Checks of metric families, on evaluations of a few dozen images."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from numbers import Real

import numpy as np
import torch
from torch import Tensor

from ncbench.conformance.problem import make_hierarchy
from ncbench.conformance.properties.common import CHECKS_OF_CARDS
from ncbench.conformance.subject import Property, Subject, builds_on, require, saying
from ncbench.conformance.surroundings import generator_states, no_files_left, settings_kept
from ncbench.contracts.groups import group_counts
from ncbench.contracts.metric import Evaluation, FeatureStream, Metric
from ncbench.discovery.registry import registry

_NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
_TENSORS = frozenset({"logits", "features", "feature_stream"})
_SPLITS = frozenset({"train", "val", "test"})
_WHEN = frozenset({"always", "scheduled"})
_FEATURES = 6  # numbers an image


def declarations_are_valid(subject: Subject) -> None:
    """What the family needs, its splits and its schedule are among those there are."""
    needs, splits, when = subject.factory.needs, subject.factory.splits, subject.factory.when
    require(set(needs) <= _TENSORS, f"needs = {set(needs)} asks for more than {', '.join(sorted(_TENSORS))}")
    known = bool(splits) and set(splits) <= _SPLITS
    require(known, f"splits = {splits} must be some of {', '.join(sorted(_SPLITS))}")
    require(when in _WHEN, f"when = {when!r} must be one of {', '.join(sorted(_WHEN))}")


def names_are_well_formed(subject: Subject) -> None:
    """Metrics have lower-case names with underscores, and no other family has the same ones."""
    metrics = subject.card.metrics
    require(bool(metrics), "the card lists no metrics")
    odd = [name for name in metrics if not _NAME.fullmatch(name)]
    require(not odd, f"not lower-case words joined by underscores: {', '.join(odd)}")
    for family in registry().names("metrics"):
        for registered in registry().cards["metrics"][family]:
            if registered.card != subject.card:
                taken = sorted(set(metrics) & set(registered.card.metrics))
                require(not taken, f"the family {family!r} of {registered.plugin} has them too: {', '.join(taken)}")


def gives_finite_numbers(subject: Subject) -> None:
    """On a split of any kind the numbers are finite and on the card; what is not defined is left out."""
    listed, seen = subject.card.metrics, False
    for kind, evaluation in _evaluations(subject).items():
        with saying(f"with {kind}"):
            numbers = subject.factory().compute(evaluation)
            require(isinstance(numbers, Mapping), f"compute() returns a {type(numbers).__name__}")
            unlisted = [name for name in numbers if name not in listed]
            require(not unlisted, f"it returns metrics that are not on the card: {', '.join(unlisted)}")
            for name, value in numbers.items():
                require(isinstance(value, Real), f"{name} is a {type(value).__name__}, not a number")
                require(math.isfinite(value), f"{name} is {value}; leave it out instead")
        seen = seen or bool(numbers)
    require(seen, "no number was returned on any split")


def is_a_pure_function(subject: Subject) -> None:
    """The same evaluation gives the same numbers again, from a new object too, and is left as it was."""
    evaluations = _evaluations(subject)
    before = {kind: _content(evaluation) for kind, evaluation in evaluations.items()}
    reused: Metric = subject.factory()
    first = {kind: reused.compute(evaluation) for kind, evaluation in evaluations.items()}
    for kind, evaluation in reversed(evaluations.items()):
        for again in (reused.compute(evaluation), subject.factory().compute(evaluation)):
            require(_close(first[kind], again, 0.0), f"with {kind} the same evaluation gives other numbers again")
        now = _content(evaluation).items()
        touched = [name for name, value in now if not np.array_equal(value, before[kind][name], equal_nan=True)]
        require(not touched, f"with {kind} it changes the evaluation's {', '.join(touched)} in place")


def does_not_depend_on_the_order_of_images(subject: Subject) -> None:
    """Images in another order give the same numbers, up to rounding."""
    generator = torch.Generator().manual_seed(1)
    for kind, evaluation in _evaluations(subject).items():
        order = torch.randperm(len(evaluation.target), generator=generator)
        numbers = subject.factory().compute(evaluation)
        shuffled = subject.factory().compute(_permuted(evaluation, order))
        require(_close(numbers, shuffled, 1e-4), f"with {kind} the numbers depend on the order of the images")


def asks_for_what_it_uses(subject: Subject) -> None:
    """Tensors that the family does not ask for, but another one does, change nothing."""
    needs, whole = subject.factory.needs, splits_of_every_kind()
    for kind, evaluation in _evaluations(subject).items():
        numbers = subject.factory().compute(evaluation)
        with_all = subject.factory().compute(replace(whole[kind], split=evaluation.split))
        require(_close(numbers, with_all, 0.0), f"with {kind} it uses what is not in needs = {set(needs)}")


def leaves_global_state_alone(subject: Subject) -> None:
    """It draws no random numbers from a global generator, seeds none and changes no setting of torch."""
    states = generator_states()
    with settings_kept():
        _compute_all(subject)
    moved = [name for name, state in generator_states().items() if state != states[name]]
    require(not moved, f"it uses {' and '.join(moved)} global generator")


def writes_no_files(subject: Subject) -> None:
    """It leaves nothing in the working, the home or the temporary folder."""
    with no_files_left():
        _compute_all(subject)


CHECKS: Sequence[Property] = (
    *CHECKS_OF_CARDS,
    declarations_are_valid,
    names_are_well_formed,
    gives_finite_numbers,
    *map(
        builds_on(gives_finite_numbers),
        (
            is_a_pure_function,
            does_not_depend_on_the_order_of_images,
            asks_for_what_it_uses,
            leaves_global_state_alone,
            writes_no_files,
        ),
    ),
)


def _evaluations(subject: Subject) -> dict[str, Evaluation]:
    """Return evaluations as the runner makes them for this family: on a split of its own, with what it asked for."""
    return {
        kind: replace(_without(evaluation, subject.factory.needs), split=subject.factory.splits[0])
        for kind, evaluation in splits_of_every_kind().items()
    }


def _compute_all(subject: Subject) -> None:
    for evaluation in _evaluations(subject).values():
        subject.factory().compute(evaluation)


def _close(first: Mapping[str, float], second: Mapping[str, float], tolerance: float) -> bool:
    """Whether two results have the same names and, up to a tolerance, numbers; NaN equals NaN."""
    return first.keys() == second.keys() and all(
        math.isclose(value, second[name], rel_tol=tolerance, abs_tol=tolerance)
        or (math.isnan(value) and math.isnan(second[name]))
        for name, value in first.items()
    )


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
        "features that are all the same": replace(plain, features=torch.ones(len(target), _FEATURES)),
        "features and logits that are not finite": _not_finite(plain),
    }
    return {
        kind: replace(evaluation, feature_stream=_stream(evaluation, evaluation.features))
        for kind, evaluation in kinds.items()
    }


def _without(evaluation: Evaluation, needs: frozenset[str]) -> Evaluation:
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


def _permuted(evaluation: Evaluation, order: Tensor) -> Evaluation:
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


def _content(evaluation: Evaluation) -> dict[str, np.ndarray]:
    """Return copies of an evaluation's tensors and arrays by name."""
    values = {**vars(evaluation), "feature_stream": _held(evaluation)}
    return {name: np.asarray(value).copy() for name, value in values.items() if isinstance(value, Tensor | np.ndarray)}


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
    means = torch.randn(num_classes, _FEATURES, generator=generator)
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
        features=means[target] + 0.3 * torch.randn(len(target), _FEATURES, generator=generator),
        weight=torch.randn(num_classes, _FEATURES, generator=generator),
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
