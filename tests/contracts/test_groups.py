"""How good inferred groups are, by the attribute that they stand in for."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import adjusted_rand_score, precision_score, recall_score

from ncbench.contracts.groups import AGREEMENT, agreement

CLASSES, VALUES = 3, 4
ALIGNED = [0, 1, 2]


def drawn(seed: int, groups: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return groups, targets and an attribute that goes along with most of a class."""
    generator = np.random.default_rng(seed)
    target = generator.integers(CLASSES, size=300)
    bias = np.where(generator.random(300) < 0.7, target, generator.integers(VALUES, size=300))
    return generator.integers(groups, size=300), target, bias


@given(st.integers(0, 2**32 - 1), st.integers(1, 6))
def test_the_index_is_that_of_each_class_averaged(seed: int, groups: int) -> None:
    inferred, target, bias = drawn(seed, groups)
    found = agreement(inferred, target, bias, None)
    of_classes = [adjusted_rand_score(bias[target == label], inferred[target == label]) for label in range(CLASSES)]
    assert found == {"adjusted_rand_index": pytest.approx(np.mean(of_classes), abs=1e-12)}


@given(st.integers(0, 2**32 - 1))
def test_the_attribute_itself_and_any_renaming_of_it_within_classes_are_perfect(seed: int) -> None:
    _, target, bias = drawn(seed, 1)
    renamed = (bias + target) % VALUES
    for inferred in (bias, renamed):
        found = agreement(inferred, target, bias, ALIGNED)
        assert found == dict.fromkeys(AGREEMENT, pytest.approx(1.0))


def test_one_group_tells_nothing() -> None:
    _, target, bias = drawn(0, 1)
    found = agreement(np.zeros_like(target), target, bias, ALIGNED)
    assert found == {"adjusted_rand_index": pytest.approx(0), "conflicting_recall": 0}


def test_of_an_error_set_it_is_its_recall_and_precision() -> None:
    generator = np.random.default_rng(0)
    _, target, bias = drawn(0, 1)
    conflicting = bias != target
    error = np.where(generator.random(300) < 0.8, conflicting, ~conflicting).astype(np.int64)
    found = agreement(error, target, bias, ALIGNED)
    assert found["conflicting_recall"] == pytest.approx(recall_score(conflicting, error))
    assert found["conflicting_precision"] == pytest.approx(precision_score(conflicting, error))
    swapped = agreement(1 - error, target, bias, ALIGNED)  # which group is which is arbitrary
    assert swapped == pytest.approx(found)


def test_what_is_not_defined_is_left_out() -> None:
    target = np.repeat([0, 1], 5)
    assert agreement(target, target, target, None) == {}
    assert agreement(target, target, target, [0, 1]) == {}  # no image conflicts
