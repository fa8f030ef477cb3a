"""Checks of ways to infer groups, on problems of a few dozen images of a few pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from ncbench.conformance.problem import absent_groups, make_problem, without_bias, without_val
from ncbench.conformance.properties.common import CHECKS_OF_CARDS, CHECKS_OF_PARAMETERS, variants
from ncbench.conformance.properties.exactness import (
    leaves_global_state_alone,
    leaves_its_inputs_alone,
    order_follows_its_generator,
    writes_no_files,
)
from ncbench.conformance.properties.methods import (
    card_says_what_it_builds_on,
    published_settings_are_valid,
    require_valid,
    supervision_is_within_the_declared,
)
from ncbench.conformance.subject import Property, Skipped, Subject, builds_on, require, saying
from ncbench.conformance.training import run, supervision
from ncbench.contracts.cards import Supervision
from ncbench.contracts.errors import ConfigurationError
from ncbench.contracts.task import Groups
from ncbench.data.store.open import Store
from ncbench.discovery.registry import registry


def published_settings_of_pairs_are_valid(subject: Subject) -> None:
    """Settings that it publishes for methods on its groups name their source, and are valid for a method that is there.

    None of them was tuned on test results.
    """
    for method, by_dataset in subject.factory.published_with.items():
        with saying(f"the settings for {method!r}"):
            factory = registry().find("methods", method).load()
            require(factory.consumes_groups, "it trains on no groups")
            for published in by_dataset.values():
                require_valid(published, factory.Parameters, method)
                require(not published.tuned_on_test, "they are tuned_on_test")


def infers_groups(subject: Subject) -> None:
    """It trains through all its stages, if it has any, and gives each training image one of its groups.

    So it does with the images of validation where it says that it annotates them, and only then.
    """
    _infers(subject, make_problem(), "on an ordinary problem")


def infers_for_any_number_of_classes(subject: Subject) -> None:
    """Two classes and a hundred work, also where a class has two images."""
    for number in (2, 100):
        problem = make_problem(number, per_group=6 if number == 2 else 1)
        _infers(subject, problem, f"with {number} classes")


def infers_with_absent_groups(subject: Subject) -> None:
    """Groups (target, attribute) without training images work."""
    problem = make_problem(num_bias=4, per_group=4, absent=absent_groups)
    _infers(subject, problem, "with absent groups")


def infers_with_the_attribute_unknown(subject: Subject) -> None:
    """Where the attribute is unknown it infers groups all the same, unless it declares the attribute."""
    used = supervision(subject)
    problem = without_bias(make_problem())
    _infers(subject, problem, "with the attribute unknown", may_refuse="bias" in (used.train, used.val))


def infers_without_validation_images(subject: Subject) -> None:
    """Without a validation split it infers the groups of the training images, unless it declares labels of one."""
    used = supervision(subject)
    _infers(subject, without_val(make_problem()), "without validation images", may_refuse=used.val == "bias")


def infers_with_any_choice_of_parameters(subject: Subject) -> None:
    """Every named choice and every switch among the parameters works."""
    for variant in variants(subject):
        _infers(variant, make_problem(), f"as {variant.spec}")


def same_seed_same_groups(subject: Subject) -> None:
    """Two runs with the same seed give the same groups."""
    problem = make_problem()
    _require_same(_infer(subject, problem), _infer(subject, problem), "two runs with the same seed give other groups")


def same_groups_after_a_resume(subject: Subject) -> None:
    """A run that is cut off after any epoch and resumed from its checkpoint gives the same groups."""
    problem = make_problem()
    with saying("resumed after every epoch"):
        resumed = _infer(subject, problem, cut_off=True)
    _require_same(_infer(subject, problem), resumed, "a resumed run gives other groups: its state is not whole")


def groups_follow_from_declared_labels(subject: Subject) -> None:
    """Groups do not depend on the attribute of a split for which it is not declared."""
    used, problem = supervision(subject), make_problem()
    if used.joined(Supervision(hierarchy=True)) == Supervision("bias", "bias", hierarchy=True):
        raise Skipped("it declares the attribute of all images")
    splits = {
        name: replace(split, bias=np.roll(split.bias, 1)) if getattr(used, name) == "none" else split
        for name, split in problem.splits.items()
        if split.bias is not None
    }
    other = _infer(subject, replace(problem, splits=splits))
    _require_same(_infer(subject, problem), other, "labels that it does not declare change the groups")


def _infer(subject: Subject, problem: Store, **options: Any) -> Groups:
    groups = run(subject, problem, **options).groups
    require(groups is not None, "nothing is inferred")
    assert groups is not None
    return groups


def _infers(subject: Subject, problem: Store, where: str, may_refuse: bool = False) -> None:
    """Infer the groups of a problem, and say of a failure where it was."""
    with saying(where):
        try:
            _infer(subject, problem)
        except ConfigurationError as error:
            require(may_refuse, f"it refuses: {error}")


def _require_same(one: Groups, other: Groups, message: str) -> None:
    of_val = [torch.empty(0) if groups.val is None else groups.val for groups in (one, other)]
    same = one.count == other.count and torch.equal(one.train, other.train) and torch.equal(*of_val)
    require(same, message)


CHECKS: Sequence[Property] = (
    *CHECKS_OF_CARDS,
    *CHECKS_OF_PARAMETERS,
    published_settings_are_valid,
    published_settings_of_pairs_are_valid,
    supervision_is_within_the_declared,
    infers_groups,
    *map(
        builds_on(infers_groups),
        (
            card_says_what_it_builds_on,
            infers_for_any_number_of_classes,
            infers_with_absent_groups,
            infers_with_the_attribute_unknown,
            infers_without_validation_images,
            infers_with_any_choice_of_parameters,
            same_seed_same_groups,
            same_groups_after_a_resume,
            groups_follow_from_declared_labels,
            order_follows_its_generator,
            leaves_its_inputs_alone,
            leaves_global_state_alone,
            writes_no_files,
        ),
    ),
)
