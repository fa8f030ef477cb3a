"""The samples of the unconstrained features model: each input is its sample's number, and nothing else."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ncbench import ConfigurationError
from ncbench.data.store.open import StoredSplit
from ncbench.data.store.prepare import prepare

from .conftest import CARDS


def numbers(split: StoredSplit) -> list[int]:
    """Read the numbers off the digits: (N, D)."""
    assert set(np.unique(split.inputs).tolist()) <= {0, 1}
    return [int("".join("1" if digit else "0" for digit in row), 2) for row in split.inputs]


@pytest.mark.parametrize(
    ("classes", "samples", "digits"), [(2, 1, 1), (4, 4, 4), (3, 11, 6), (10, 100, 10), (1000, 3, 12)]
)
def test_inputs_number_the_samples_class_by_class(classes: int, samples: int, digits: int) -> None:
    store = prepare(CARDS["ufm"], {"classes": classes, "samples": samples})
    train = store.splits["train"]
    assert train.inputs.shape == (classes * samples, digits)
    assert numbers(train) == list(range(classes * samples))
    assert train.target.tolist() == [number // samples for number in range(classes * samples)]
    assert len(store.class_names) == classes
    assert train.bias is None


@pytest.mark.parametrize(
    "thinned",
    [{}, {"per_class": 1}, {"per_class": 7}, {"imbalance": "step", "ratio": 10}, {"imbalance": "exp", "ratio": 20}],
)
def test_the_test_split_is_a_training_sample_of_each_class_whatever_is_left_out(thinned: dict[str, Any]) -> None:
    splits = prepare(CARDS["ufm"], {"classes": 6, "samples": 20, **thinned}).splits
    train = dict(zip(numbers(splits["train"]), splits["train"].target.tolist(), strict=True))
    test = dict(zip(numbers(splits["test"]), splits["test"].target.tolist(), strict=True))
    assert test.items() <= train.items()
    assert sorted(test.values()) == list(range(6))


def test_sizes_out_of_range_are_refused() -> None:
    for name, value in (("classes", 1), ("classes", 1001), ("samples", 0), ("samples", 1001)):
        with pytest.raises(ConfigurationError, match=f"{name!r} of ufm is not valid"):
            prepare(CARDS["ufm"], {name: value})
