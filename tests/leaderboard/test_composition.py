"""What pages say of a dataset's groups, and which accuracies they call one and the same."""

from __future__ import annotations

import itertools

import pytest

from ncbench.leaderboard.intake.recompute import Sizes
from ncbench.leaderboard.pages.composition import composition, same_means


def grid(counts: list[list[int]]) -> Sizes:
    return tuple(((y, a), count) for y, row in enumerate(counts) for a, count in enumerate(row))


def test_groups_go_along_with_the_class_or_against_it() -> None:
    train, val, test, note = composition(
        {"train": grid([[4000, 10], [12, 3000]]), "test": grid([[5, 5], [5, 5]]), "val": grid([[7, 0], [0, 8]])}
    )
    assert train == "7,022 training images in 2 aligned groups of 3,000 to 4,000 and 2 conflicting groups of 10 to 12"
    assert val == "15 validation images in 2 aligned groups of 7 to 8"
    assert test == "20 test images in 2 aligned groups of 5 and 2 conflicting groups of 5"
    assert note.startswith("aligned are those")


def test_without_a_usual_value_there_are_groups_and_without_values_classes() -> None:
    assert composition({"train": grid([[5, 5], [9, 1]])}) == ["20 training images in 4 groups of 1 to 9"]
    unlabelled = (((0, None), 3), ((1, None), 4))
    assert composition({"train": unlabelled}) == ["7 training images in 2 classes of 3 to 4"]


@pytest.mark.parametrize(
    ("test", "same"),
    [
        (grid([[5, 5], [5, 5]]), True),
        (grid([[5, 5], [5, 6]]), False),
        (grid([[5, 0], [5, 5]]), False),
        ((((0, None), 3), ((1, None), 3)), True),
        ((((0, 0), 3), ((0, 1), 3), ((1, 0), 3)), False),
    ],
)
def test_means_are_the_same_where_groups_are_of_one_size(test: Sizes, same: bool) -> None:
    """By the definitions, whatever was classified correctly."""
    assert bool(same_means(test)) is same
    if not same:
        return
    classes = sorted({target for (target, _), _ in test})
    for correct in itertools.product(range(test[0][1] + 1), repeat=len(test)):
        shares = [right / count for right, (_, count) in zip(correct, test, strict=True)]
        by_class = [
            sum(right for right, ((y, _), _) in zip(correct, test, strict=True) if y == target)
            / sum(count for (y, _), count in test if y == target)
            for target in classes
        ]
        accuracy = sum(correct) / sum(count for _, count in test)
        assert sum(shares) / len(shares) == pytest.approx(accuracy)
        assert sum(by_class) / len(by_class) == pytest.approx(accuracy)
