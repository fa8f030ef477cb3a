"""Several bias attributes of a dataset, raveled into the one group axis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ncbench import DataError, Dataset, Parameters, Split
from ncbench.contracts.groups import (
    accuracies,
    attribute_accuracies,
    attribute_names,
    group_counts,
    ravel_attributes,
    shortcut_gaps,
)
from ncbench.data.store.open import Store, open_store
from ncbench.data.store.verify import verify

from .conftest import TOY, make_manifest, make_split

ATTRIBUTES = {"ground": ("water", "land"), "side": ("left", "middle", "right")}
SQUARE = {"ground": ("water", "land"), "side": ("left", "right")}
TARGET, BIAS = (0, 1, 1, 0), np.array([[0, 0], [1, 2], [0, 1], [1, 0]])


class Two(Dataset):
    """A dataset with two attributes, of two values and of three."""

    folder = None
    class_names = ("cat", "dog")
    attributes: Mapping[str, Sequence[str]] = ATTRIBUTES
    image_size = (2, 2)
    bias: Any = BIAS

    def source_files(self) -> Sequence[Path]:
        return ()

    def read(self) -> Mapping[str, Split]:
        return {"train": make_split(TARGET, bias=self.bias), "test": make_split(TARGET, bias=None)}


def opened(dataset: Dataset, **manifest: Any) -> Store:
    return open_store(dataset, TOY, make_manifest(**manifest))


def test_a_store_holds_one_attribute_and_knows_what_it_is_made_of() -> None:
    dataset = Two(Parameters(), None)
    groups = [[1, 0, 0, 1, 0, 0], [0, 1, 0, 0, 0, 1]]  # row-major: the last attribute's values run fastest
    counts = {"train": {"images": 4, "groups": groups}}
    store = opened(dataset, counts=counts)
    assert store.splits["train"].bias is not None
    assert store.splits["train"].bias.tolist() == [0, 5, 1, 3]
    assert store.splits["test"].bias is None
    assert store.attributes == ATTRIBUTES
    assert list(store.attributes) == ["ground", "side"]  # their order is the raveled one's
    assert store.bias_names[5] == "ground=land, side=right"
    assert len(store.bias_names) == 6
    assert store.aligned_bias is None  # two classes, three sides
    assert verify(dataset, TOY, make_manifest(counts=counts)) == []
    # A dataset may ravel by itself: it is the same.
    dataset.bias = np.array([0, 5, 1, 3])
    assert opened(dataset).fingerprint == store.fingerprint


def test_with_a_value_a_class_in_each_attribute_the_class_has_its_own() -> None:
    class Square(Two):
        attributes = SQUARE
        bias = np.array([[0, 0], [1, 1], [0, 1], [1, 0]])

    assert opened(Square(Parameters(), None)).aligned_bias == (0, 3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bias": BIAS + 1}, r"2 ground labels outside 0\.\.1: i1 has 2; i3 has 2"),
        ({"bias": BIAS[:, :1]}, r"4 images but bias labels of shape \(4, 1\)"),
        ({"bias": BIAS.astype(float)}, "ground labels are float64, not integers"),
        ({"bias_names": ("water", "land")}, "does not name the combinations of its attributes"),
        (
            {"attributes": {"Ground": ("water", "land"), "side": ("left", "right", "up")}},
            "'Ground' is no lower-case word",
        ),
    ],
)
def test_attributes_that_are_not_sound_are_refused(changes: dict[str, Any], message: str) -> None:
    dataset = Two(Parameters(), None)
    for name, value in changes.items():
        setattr(dataset, name, value)
    with pytest.raises(DataError, match=message):
        opened(dataset)


def test_a_single_attribute_keeps_its_values_names() -> None:
    assert attribute_names({"place": ("water", "land")}) == ("water", "land")
    assert attribute_names({}) == ()


@given(st.data())
def test_the_accuracies_of_each_attribute_are_those_without_the_others(data: st.DataObject) -> None:
    sizes = data.draw(st.lists(st.integers(1, 4), min_size=2, max_size=3))
    classes, number = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 30))
    draw = np.random.default_rng(data.draw(st.integers(0, 1000)))
    target, hit = draw.integers(0, classes, number), draw.integers(0, 2, number).astype(bool)
    values = np.stack([draw.integers(0, size, number) for size in sizes], axis=1)
    raveled = ravel_attributes(values, sizes)
    total = int(np.prod(sizes))
    count, correct = (group_counts(target[rows], raveled[rows], classes, total) for rows in (slice(None), hit))
    attributes = {f"a{index}": [str(value) for value in range(size)] for index, size in enumerate(sizes)}
    assert len(attribute_names(attributes)) == total
    found = attribute_accuracies(count, correct, attributes)
    assert len(found) == 2 * len(sizes)
    for index, size in enumerate(sizes):
        alone = [group_counts(target[rows], values[rows, index], classes, size) for rows in (slice(None), hit)]
        expected = accuracies(*alone, bias_known=True)
        for name in ("group_mean_accuracy", "worst_group_accuracy"):
            assert found[f"{name}_a{index}"] == pytest.approx(expected[name], abs=1e-12)
    names = attribute_names(attributes)
    of_first = names[raveled[0]].split(", ")
    assert of_first == [f"a{index}={value}" for index, value in enumerate(values[0])]
    assert attribute_accuracies(count, correct, {"a": names}) == {}


def test_gaps_are_the_papers() -> None:
    # UrbanCars: 95 % each in training, 125 images a group in the test (Li et al., CVPR 2023).
    train = np.array([[3610, 190, 190, 10], [10, 190, 190, 3610]])
    count = np.full((2, 4), 125)
    correct = np.array([[120, 90, 60, 40], [30, 70, 100, 122]])  # columns: both urban, bg, coobj, both country
    attributes = {"bg": ("urban", "country"), "coobj": ("urban", "country")}
    # By hand: the mean over classes of each kind of group; in distribution they weigh 0.9025, 0.0475, 0.0475, 0.0025.
    both, coobj, bg, neither = (pair / 250 for pair in (120 + 122, 90 + 100, 60 + 70, 40 + 30))
    usual = 0.9025 * both + 0.0475 * (coobj + bg) + 0.0025 * neither
    found = shortcut_gaps(count, correct, attributes, (0, 3), train)
    expected = {"bg_gap": bg - usual, "coobj_gap": coobj - usual, "bg_coobj_gap": neither - usual}
    assert found == pytest.approx(expected, abs=1e-12)
    assert shortcut_gaps(count, correct, {"bg": ("a", "b", "c", "d")}, (0, 3), train) == {}
    assert shortcut_gaps(count, correct, attributes, None, train) == {}
    assert shortcut_gaps(count, correct, attributes, (0, 3), None) == {}
    assert shortcut_gaps(0 * count, 0 * correct, attributes, (0, 3), train) == {}
    count[0, 3] = correct[0, 3] = count[1, 0] = correct[1, 0] = 0
    assert set(shortcut_gaps(count, correct, attributes, (0, 3), train)) == {"bg_gap", "coobj_gap"}
