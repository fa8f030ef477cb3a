"""Checks of metric families, on evaluations of a few dozen images."""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from numbers import Real

import torch

from ncbench.conformance.common import CHECKS_OF_CARDS
from ncbench.conformance.evaluations import changed, copied, permuted, splits_of_every_kind, without
from ncbench.conformance.subject import ConformanceError, Subject, require
from ncbench.conformance.surroundings import generator_states, torch_settings, watched_folders
from ncbench.contracts.errors import described
from ncbench.contracts.metric import Evaluation, Metric
from ncbench.discovery.registry import registry
from ncbench.training.seeding import seed_global_generators

_NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
_TENSORS = frozenset({"logits", "features", "feature_stream"})
_SPLITS = frozenset({"train", "val", "test"})
_WHEN = frozenset({"always", "scheduled"})


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
        try:
            numbers = subject.factory().compute(evaluation)
        except Exception as error:
            raise ConformanceError(f"with {kind} it raises {described(error)}") from error
        require(isinstance(numbers, Mapping), f"with {kind} compute() returns a {type(numbers).__name__}")
        unlisted = [name for name in numbers if name not in listed]
        require(not unlisted, f"with {kind} it returns metrics that are not on the card: {', '.join(unlisted)}")
        for name, value in numbers.items():
            require(isinstance(value, Real), f"with {kind} {name} is a {type(value).__name__}, not a number")
            require(math.isfinite(value), f"with {kind} {name} is {value}; leave it out instead")
        seen = seen or bool(numbers)
    require(seen, "no number was returned on any split")


def is_a_pure_function(subject: Subject) -> None:
    """The same evaluation gives the same numbers again, from a new object too, and is left as it was."""
    evaluations = _survived(subject)
    before = {kind: copied(evaluation) for kind, evaluation in evaluations.items()}
    reused: Metric = subject.factory()
    first = {kind: reused.compute(evaluation) for kind, evaluation in evaluations.items()}
    for kind, evaluation in reversed(evaluations.items()):
        for again in (reused.compute(evaluation), subject.factory().compute(evaluation)):
            require(_close(first[kind], again, 0.0), f"with {kind} the same evaluation gives other numbers again")
        touched = changed(before[kind], evaluation)
        require(not touched, f"with {kind} it changes the evaluation's {', '.join(touched)} in place")


def does_not_depend_on_the_order_of_images(subject: Subject) -> None:
    """Images in another order give the same numbers, up to rounding."""
    generator = torch.Generator().manual_seed(1)
    for kind, evaluation in _survived(subject).items():
        order = torch.randperm(len(evaluation.target), generator=generator)
        numbers = subject.factory().compute(evaluation)
        shuffled = subject.factory().compute(permuted(evaluation, order))
        require(_close(numbers, shuffled, 1e-4), f"with {kind} the numbers depend on the order of the images")


def asks_for_what_it_uses(subject: Subject) -> None:
    """Tensors that the family does not ask for, but another one does, change nothing."""
    needs, whole = subject.factory.needs, splits_of_every_kind()
    for kind, evaluation in _survived(subject).items():
        numbers = subject.factory().compute(evaluation)
        with_all = subject.factory().compute(replace(whole[kind], split=evaluation.split))
        require(_close(numbers, with_all, 0.0), f"with {kind} it uses what is not in needs = {set(needs)}")


def leaves_global_state_alone(subject: Subject) -> None:
    """It draws no random numbers from a global generator, seeds none and changes no setting of torch."""
    seed_global_generators(0)
    states, settings = generator_states(), torch_settings()
    for evaluation in _survived(subject).values():
        subject.factory().compute(evaluation)
    moved = [name for name, state in generator_states().items() if state != states[name]]
    require(not moved, f"it uses {' and '.join(moved)} global generator")
    changed = [name for name, value in torch_settings().items() if value != settings[name]]
    require(not changed, f"torch's {' and '.join(changed)} changed")


def writes_no_files(subject: Subject) -> None:
    """It leaves nothing in the working, the home or the temporary folder."""
    with watched_folders() as left:
        for evaluation in _survived(subject).values():
            subject.factory().compute(evaluation)
    require(not left, f"it left {', '.join(left[:20])}")


CHECKS: Sequence[Callable[[Subject], None]] = (
    *CHECKS_OF_CARDS,
    declarations_are_valid,
    names_are_well_formed,
    gives_finite_numbers,
    is_a_pure_function,
    does_not_depend_on_the_order_of_images,
    asks_for_what_it_uses,
    leaves_global_state_alone,
    writes_no_files,
)


def _evaluations(subject: Subject) -> dict[str, Evaluation]:
    """Return evaluations as the runner makes them for this family: on a split of its own, with what it asked for."""
    return {
        kind: replace(without(evaluation, subject.factory.needs), split=subject.factory.splits[0])
        for kind, evaluation in splits_of_every_kind().items()
    }


def _survived(subject: Subject) -> dict[str, Evaluation]:
    """Return those evaluations on which the family raises nothing; another check reports the others."""
    survived = {}
    for kind, evaluation in _evaluations(subject).items():
        with contextlib.suppress(Exception):
            subject.factory().compute(copied(evaluation))
            survived[kind] = evaluation
    return survived


def _close(first: Mapping[str, float], second: Mapping[str, float], tolerance: float) -> bool:
    """Whether two results have the same names and, up to a tolerance, numbers; NaN equals NaN."""
    return first.keys() == second.keys() and all(
        math.isclose(value, second[name], rel_tol=tolerance, abs_tol=tolerance)
        or (math.isnan(value) and math.isnan(second[name]))
        for name, value in first.items()
    )
