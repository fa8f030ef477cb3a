"""Group metrics against scikit-learn, against definitions image by image, and under what must not change them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, balanced_accuracy_score, recall_score

from ncbench_metrics.group import GroupMetrics
from tests.metrics.evaluations import count_cells, make_evaluation

compute = GroupMetrics().compute
# The same examples in every run, and no deadline: a busy machine is not a failure.
examples = settings(derandomize=True, deadline=None, max_examples=60)


@st.composite
def labelled(draw):
    """Targets, predictions and bias values of 1 to 40 images, in which classes and cells may well be absent."""
    num_classes, num_bias = draw(st.integers(1, 5)), draw(st.integers(1, 4))
    image = st.tuples(st.integers(0, num_classes - 1), st.integers(0, num_classes - 1), st.integers(0, num_bias - 1))
    target, predicted, bias = zip(*draw(st.lists(image, min_size=1, max_size=40)), strict=True)
    train = draw(st.lists(st.integers(0, 30), min_size=num_classes * num_bias, max_size=num_classes * num_bias))
    aligned = draw(st.lists(st.integers(0, num_bias - 1), min_size=num_classes, max_size=num_classes))
    return {
        "target": target,
        "predicted": predicted,
        "bias": bias,
        "num_classes": num_classes,
        "num_bias": num_bias,
        "train_count": np.array(train).reshape(num_classes, num_bias),
        "aligned_bias": aligned,
    }


def cell_accuracies(case):
    """Accuracy of each cell that has images, by looking at the images of the cell."""
    hits = {}
    for y, guess, a in zip(case["target"], case["predicted"], case["bias"], strict=True):
        hits.setdefault((y, a), []).append(guess == y)
    return {cell: sum(values) / len(values) for cell, values in hits.items()}


@examples
@given(labelled())
def test_every_metric_is_its_definition(case):
    metrics = compute(make_evaluation(**case))
    cells = cell_accuracies(case)
    expected = {
        "accuracy": accuracy_score(case["target"], case["predicted"]),
        "class_mean_accuracy": recall_score(
            case["target"], case["predicted"], average="macro", labels=sorted(set(case["target"]))
        ),
        "group_mean_accuracy": np.mean(list(cells.values())),
        "worst_group_accuracy": min(cells.values()),
    }
    expected["balanced_error"] = 1 - expected["class_mean_accuracy"]
    expected["worst_class_accuracy"] = recall_score(
        case["target"], case["predicted"], average=None, labels=sorted(set(case["target"]))
    ).min()
    for name, kind in (("aligned_accuracy", True), ("conflicting_accuracy", False)):
        of_kind = [value for (y, a), value in cells.items() if (a == case["aligned_bias"][y]) is kind]
        if of_kind:
            expected[name] = np.mean(of_kind)
    shares = {cell: int(case["train_count"][cell]) for cell in cells}
    if sum(shares.values()):
        expected["adjusted_accuracy"] = sum(shares[c] * cells[c] for c in cells) / sum(shares.values())
    assert metrics == pytest.approx(expected)


@examples
@given(labelled())
@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true", "ignore:A single label was found")
def test_class_mean_accuracy_is_scikit_learns_balanced_accuracy(case):
    expected = balanced_accuracy_score(case["target"], case["predicted"])
    assert compute(make_evaluation(**case))["class_mean_accuracy"] == pytest.approx(expected)


@examples
@given(labelled())
def test_metrics_are_fractions_and_ordered(case):
    metrics = compute(make_evaluation(**case))
    assert all(0 <= value <= 1 for value in metrics.values())
    for name in ("accuracy", "group_mean_accuracy", "class_mean_accuracy", "adjusted_accuracy", "aligned_accuracy"):
        if name in metrics:
            assert metrics["worst_group_accuracy"] <= metrics[name] + 1e-12


@examples
@given(labelled(), st.data())
def test_renumbering_the_bias_values_changes_nothing(case, data):
    # A metric that numbers groups by those it happens to see mixes them up when one is absent.
    to = data.draw(st.permutations(range(case["num_bias"])))
    renumbered = case | {
        "bias": [to[a] for a in case["bias"]],
        "aligned_bias": [to[a] for a in case["aligned_bias"]],
        "train_count": case["train_count"][:, np.argsort(to)],
    }
    assert compute(make_evaluation(**renumbered)) == pytest.approx(compute(make_evaluation(**case)))


@examples
@given(labelled(), st.integers(2, 4))
def test_repeating_the_images_of_one_cell_leaves_the_group_metrics(case, times):
    y, a = case["target"][0], case["bias"][0]
    chosen = [i for i in range(len(case["target"])) if (case["target"][i], case["bias"][i]) == (y, a)]
    order = list(range(len(case["target"]))) + chosen * (times - 1)
    repeated = case | {key: [case[key][i] for i in order] for key in ("target", "predicted", "bias")}
    before, after = compute(make_evaluation(**case)), compute(make_evaluation(**repeated))
    for name in before.keys() - {"accuracy", "class_mean_accuracy", "worst_class_accuracy", "balanced_error"}:
        assert after[name] == pytest.approx(before[name])


@examples
@given(labelled())
def test_a_cell_nobody_is_in_plays_no_part(case):
    """One more class and one more bias value that no image has: every number stays."""
    wider = case | {
        "num_classes": case["num_classes"] + 1,
        "num_bias": case["num_bias"] + 1,
        "train_count": np.pad(case["train_count"], ((0, 1), (0, 1))),
        "aligned_bias": [*case["aligned_bias"], case["num_bias"]],
    }
    assert compute(make_evaluation(**wider)) == pytest.approx(compute(make_evaluation(**case)))


def test_by_hand(evaluation):
    # Cells (0, 0): 3 of 4 right; (0, 1): absent; (1, 0): 0 of 1; (1, 1): 1 of 2.
    target = [0, 0, 0, 0, 1, 1, 1]
    bias = [0, 0, 0, 0, 0, 1, 1]
    predicted = [0, 0, 0, 1, 0, 1, 0]
    train = np.array([[90, 10], [0, 100]])
    metrics = compute(evaluation(target, predicted, bias, 2, 2, train_count=train, aligned_bias=[0, 1]))
    assert metrics == pytest.approx(
        {
            "accuracy": 4 / 7,
            "class_mean_accuracy": (3 / 4 + 1 / 3) / 2,
            "worst_class_accuracy": 1 / 3,
            "balanced_error": 1 - (3 / 4 + 1 / 3) / 2,
            "group_mean_accuracy": (3 / 4 + 0 + 1 / 2) / 3,
            "worst_group_accuracy": 0.0,
            "aligned_accuracy": (3 / 4 + 1 / 2) / 2,
            "conflicting_accuracy": 0.0,
            "adjusted_accuracy": (90 * 3 / 4 + 100 * 1 / 2) / 190,
        }
    )


def test_without_bias_labels_accuracy_and_class_means_stay(evaluation):
    metrics = compute(evaluation([0, 0, 1], [0, 1, 1], None, 2, 0))
    assert metrics == pytest.approx(
        {"accuracy": 2 / 3, "class_mean_accuracy": 0.75, "worst_class_accuracy": 0.5, "balanced_error": 0.25}
    )
    # Known in training, unknown on this split: the same.
    train = np.array([[5, 1], [1, 5]])
    assert compute(evaluation([0, 0, 1], [0, 1, 1], None, 2, 2, train_count=train, aligned_bias=[0, 1])) == metrics


def test_one_class(evaluation):
    metrics = compute(evaluation([0, 0, 0], [0, 0, 0], [0, 1, 1], 1, 2, aligned_bias=[0]))
    assert metrics["class_mean_accuracy"] == metrics["worst_group_accuracy"] == metrics["aligned_accuracy"] == 1.0


def test_a_split_without_images_has_no_metrics(evaluation):
    assert compute(evaluation([], [], [], 2, 2, aligned_bias=[0, 1])) == {}


def test_what_has_no_image_or_no_definition_is_left_out(evaluation):
    aligned_only = compute(evaluation([0, 1], [0, 1], [0, 1], 2, 2, aligned_bias=[0, 1]))
    assert "aligned_accuracy" in aligned_only
    assert "conflicting_accuracy" not in aligned_only
    assert "adjusted_accuracy" not in aligned_only
    no_alignment = compute(evaluation([0, 1], [0, 1], [0, 1], 2, 2, train_count=np.array([[0, 5], [5, 0]])))
    assert no_alignment.keys() & {"aligned_accuracy", "conflicting_accuracy"} == set()
    assert "adjusted_accuracy" not in no_alignment  # no training cell has images here


def test_the_card_lists_exactly_what_can_be_computed(evaluation):
    import ncbench_metrics

    cards = {card.name: card for card in ncbench_metrics.ncbench_metrics()}
    metrics = compute(
        evaluation([0, 1, 0], [0, 1, 0], [0, 1, 1], 2, 2, train_count=np.ones((2, 2)), aligned_bias=[0, 1])
    )
    of_inferred = {"worst_inferred_group_accuracy"}  # which only a run on inferred groups has
    assert metrics.keys() == cards["group"].metrics.keys() - of_inferred
    assert all(isinstance(value, float) for value in metrics.values())


def test_counting_by_hand_is_what_is_counted():
    from ncbench.contracts.groups import group_counts

    target, bias = np.array([0, 2, 2, 1]), np.array([1, 0, 0, 1])
    assert np.array_equal(group_counts(target, bias, 3, 2), count_cells(target, bias, 3, 2))
    assert np.array_equal(group_counts(target, None, 3, 2), count_cells(target, None, 3, 2))
    wide = np.full(3, 200, dtype=np.uint8)  # 200 * 201 + 200 fits in no byte
    assert group_counts(wide, wide, 201, 201)[200, 200] == 3
