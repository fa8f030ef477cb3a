"""The hierarchy families: a tiny tree by hand, and the K x K definitions for random trees."""

from __future__ import annotations

import os
import resource
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import ncbench_metrics
import ncbench_metrics.hierarchy
from ncbench.geometry import Hierarchy, hierarchy_aware_frame
from ncbench_metrics.frame import FrameMetrics
from ncbench_metrics.hierarchy import HierarchyMetrics, Preferences, Tree, top_classes
from tests.metrics.evaluations import make_evaluation

compute = HierarchyMetrics().compute
CARDS = {card.name: card for card in ncbench_metrics.ncbench_metrics()}
PETS = Hierarchy.from_categories([("dog", "animal"), ("cat", "animal"), ("car", "thing")])
# dog - cat: 1; dog - car and cat - car: 2


def of_logits(logits, target, hierarchy=PETS, **rest):
    logits = torch.as_tensor(logits, dtype=torch.float32)
    num_classes = logits.shape[1]
    return make_evaluation(
        target, logits.argmax(1).tolist(), None, num_classes, 0, logits=logits, hierarchy=hierarchy, **rest
    )


@st.composite
def trees(draw, max_classes=12):
    """A random tree: classes and inner nodes hang on any inner node before them; heights by the longest path."""
    num_inner = draw(st.integers(1, 6))
    above = [draw(st.integers(0, max(i - 1, 0))) for i in range(num_inner)]
    num_classes = draw(st.integers(max(2, num_inner), max(max_classes, num_inner)))
    # Every inner node gets a class of its own, so that none is a leaf
    of_class = [*range(num_inner), *(draw(st.integers(0, num_inner - 1)) for _ in range(num_classes - num_inner))]
    parents = [num_classes + node for node in of_class]
    parents += [-1 if i == 0 else num_classes + above[i] for i in range(num_inner)]
    return Hierarchy(node_names=tuple(f"n{i}" for i in range(len(parents))), parents=tuple(parents))


class TestByHand:
    LOGITS = (
        (3.0, 2.0, 0.0),  # dog for a dog
        (3.0, 2.0, 0.0),  # dog for a cat
        (0.0, 1.0, 2.0),  # car for a dog
        (0.0, 0.0, 9.0),  # car for a car
    )
    TARGET = (0, 1, 0, 2)

    def test_severity_and_distance_count_heights_over_the_wrong_and_over_all(self):
        metrics = compute(of_logits(self.LOGITS, self.TARGET))
        assert metrics["mistake_severity"] == (1 + 2) / 2
        assert metrics["hierarchical_distance_at_1"] == (0 + 1 + 2 + 0) / 4

    def test_levels_from_below_the_root_down_to_the_classes(self):
        metrics = compute(of_logits(self.LOGITS, self.TARGET))
        assert metrics["level_1_accuracy"] == 3 / 4  # the dog taken for a car is no animal
        assert metrics["level_2_accuracy"] == 2 / 4
        assert "level_3_accuracy" not in metrics

    def test_more_places_than_classes_are_left_out(self):
        metrics = compute(of_logits(self.LOGITS, self.TARGET))
        assert not {"hierarchical_distance_at_5", "hierarchical_distance_at_20", "hops_at_5"} & metrics.keys()

    def test_distance_at_5(self):
        tree = Hierarchy.from_categories([(f"c{k}", "left" if k < 3 else "right") for k in range(6)])
        # Top five: all but class 5. To class 0: 0 + 1 + 1 (c1, c2) + 2 + 2 (c3, c4).
        logits = [[5.0, 4.0, 3.0, 2.0, 1.0, 0.0]]
        assert compute(of_logits(logits, [0], tree))["hierarchical_distance_at_5"] == 6 / 5
        # To class 5: three times 2, twice 1.
        assert compute(of_logits(logits, [5], tree))["hierarchical_distance_at_5"] == 8 / 5

    def test_crm_prefers_the_likelier_branch_to_the_likeliest_class(self):
        p = torch.tensor([[0.3, 0.3, 0.4]])
        # Expected heights: dog 0.3 + 0.8 = 1.1, cat the same, car 1.2: dog, though a car is likeliest.
        metrics = compute(of_logits(p.log(), [1]))
        assert metrics["mistake_severity"] == 2
        assert metrics["crm_mistake_severity"] == 1
        assert metrics["crm_accuracy"] == 0
        assert compute(of_logits(p.log(), [0]))["crm_accuracy"] == 1
        certain = torch.tensor([[0.2, 0.2, 0.6]])  # dog 0.2 + 1.2 = 1.4, car 0.8
        assert compute(of_logits(certain.log(), [2]))["crm_accuracy"] == 1

    def test_a_class_that_ends_above_a_level_stands_for_itself(self):
        tree = Hierarchy.from_parents([4, 4, 5, 6, 6, 6, -1], ["a", "b", "c", "d", "ab", "c1", "root"])
        logits = torch.eye(4)[[1, 3, 3, 0]]
        metrics = compute(of_logits(logits, [0, 3, 2, 0], tree))
        assert metrics["level_1_accuracy"] == 3 / 4  # b for a is within ab; d for d; d for c is wrong
        assert metrics["level_2_accuracy"] == 2 / 4


class TestAgainstTheDefinition:
    @settings(max_examples=40)
    @given(tree=trees(), seed=st.integers(0, 2**16), spread=st.sampled_from([0.1, 1.0, 8.0]))
    def test_random_trees(self, tree, seed, spread):
        k, generator = tree.num_classes, torch.Generator().manual_seed(seed)
        target = torch.randint(k, (9,), generator=generator)
        logits = spread * torch.randn(9, k, generator=generator)
        metrics = compute(of_logits(logits, target.tolist(), tree))
        d = tree.distances(torch.float64)
        predicted = logits.argmax(1)
        wrong = predicted != target
        assert metrics["hierarchical_distance_at_1"] == pytest.approx(d[predicted, target].mean().item())
        if wrong.any():
            assert metrics["mistake_severity"] == pytest.approx(d[predicted, target][wrong].mean().item())
        else:
            assert "mistake_severity" not in metrics
        order = logits.argsort(dim=1, descending=True)
        for top in (1, 5, 20):
            if top <= k:
                expected = torch.stack([d[order[:, i], target] for i in range(top)]).mean().item()
                assert metrics[f"hierarchical_distance_at_{top}"] == pytest.approx(expected)
            else:
                assert f"hierarchical_distance_at_{top}" not in metrics
        deepest = max(tree.depths)
        for depth in range(1, deepest + 1):
            # Sharing the ancestor at a depth: the same set of nodes from there up
            chains = [[c, *tree.ancestors(c)][::-1][: depth + 1] for c in range(k)]
            shared = [chains[a] == chains[b] for a, b in zip(predicted.tolist(), target.tolist(), strict=True)]
            assert metrics[f"level_{depth}_accuracy"] == pytest.approx(np.mean(shared))
        assert metrics[f"level_{deepest}_accuracy"] == pytest.approx((predicted == target).double().mean().item())

    @settings(max_examples=40)
    @given(tree=trees(), seed=st.integers(0, 2**16))
    def test_crm_has_the_least_expected_height(self, tree, seed):
        p = torch.randn(9, tree.num_classes, generator=torch.Generator().manual_seed(seed)).double().mul(2).softmax(1)
        expected = p @ tree.distances(torch.float64)  # (9, K)
        choice = Tree.of(tree, p.device).least_expected_height(p)
        torch.testing.assert_close(expected.gather(1, choice[:, None])[:, 0], expected.amin(1), rtol=1e-12, atol=1e-12)

    @given(tree=trees())
    def test_lca_heights_of_all_pairs(self, tree):
        every = torch.arange(tree.num_classes)
        heights = Tree.of(tree, every.device).lca_heights(every[:, None], every)
        assert torch.equal(heights, tree.distances(torch.float64))

    def test_heights_that_are_not_path_lengths(self):
        tree = Hierarchy(("a", "b", "c", "ab", "root"), (3, 3, 4, 4, -1), heights=(0, 0, 0, 0.25, 7.5))
        metrics = compute(of_logits(torch.eye(3)[[1, 2]], [0, 0], tree))
        assert metrics["mistake_severity"] == (0.25 + 7.5) / 2


class TestPreferenceScore:
    def test_by_hand(self):
        # To a dog: dog 0, cat 1, car 2, with weights 1, 1/2, 1/4; reversed: 2 x 1 + 0 + 2 x 1/4 = 2.5.
        logits = [[3.0, 2.0, 1.0], [2.0, 3.0, 1.0], [1.0, 2.0, 3.0], [3.0, 1.0, 2.0]]
        expected = [1, 1 - (1 + 1 / 2) / 2.5, 0, 1 - (1 / 2 + 1 / 4) / 2.5]
        for row, score in zip(logits, expected, strict=True):
            assert compute(of_logits([row], [0]))["hops"] == pytest.approx(score)

    def test_weights_fall_linearly_within_a_rank(self):
        tree = Hierarchy.from_categories([(f"c{k}", "left" if k < 3 else "right") for k in range(7)])
        preferences = Preferences.of(tree.distances(torch.float64)[:1])
        assert preferences.best.tolist() == [[0, 1, 1, 2, 2, 2, 2]]
        assert preferences.weight.tolist() == [pytest.approx([1, 1 / 2, 3 / 8, 1 / 4, 3 / 16, 1 / 8, 1 / 16])]

    @settings(max_examples=40)
    @given(tree=trees(), seed=st.integers(0, 2**16), spread=st.sampled_from([0.1, 8.0]))
    def test_it_is_its_definition_image_by_image(self, tree, seed, spread):
        K, generator = tree.num_classes, torch.Generator().manual_seed(seed)
        target = torch.randint(K, (5,), generator=generator).tolist()
        logits = spread * torch.randn(5, K, generator=generator)
        metrics = compute(of_logits(logits, target, tree))
        d = tree.distances(torch.float64).tolist()
        for name, k in {"hops": K, "hops_at_5": 5, "hops_at_20": 20}.items():
            scores = []
            for row, y in zip(logits.tolist(), target, strict=True):
                levels = sorted(set(d[y]))
                rank = [levels.index(distance) for distance in d[y]]
                best = sorted(rank)
                weight = []
                for r in range(len(levels)):
                    after = 2.0 ** -(r + 1) if r + 1 < len(levels) else 0.0
                    weight += np.linspace(2.0**-r, after, best.count(r), endpoint=False).tolist()
                found = [rank[c] for c in sorted(range(K), key=lambda c: -row[c])]
                gap = sum(w * abs(b - r) for w, b, r in zip(weight[:k], best[:k], found[:k], strict=True))
                most = sum(w * abs(b - r) for w, b, r in zip(weight[:k], best[:k], best[:k][::-1], strict=True))
                scores.append(min(max(1 - gap / most, 0), 1))
            assert metrics.get(name) == (pytest.approx(np.mean(scores)) if k <= K else None)

    def test_a_perfect_order_has_1_and_only_ranks_count(self):
        tree = Hierarchy.from_categories([(f"c{k}", f"g{k % 4}", f"h{k % 2}") for k in range(24)])
        generator = torch.Generator().manual_seed(0)
        near = -tree.distances() + 0.1 * torch.rand(24, 24, generator=generator)  # any order within a rank
        metrics = compute(of_logits(near, list(range(24)), tree))
        assert [metrics[name] for name in ("hops", "hops_at_5", "hops_at_20")] == [1, 1, 1]
        assert compute(of_logits(-near, list(range(24)), tree))["hops"] == pytest.approx(0, abs=1e-12)


def test_runs_of_images_change_nothing(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    tree = Hierarchy.from_categories([(f"c{k}", f"g{k % 4}", f"h{k % 2}") for k in range(30)])
    evaluation = of_logits(
        torch.randn(50, 30, generator=generator), torch.randint(30, (50,), generator=generator), tree
    )
    whole = compute(evaluation)
    monkeypatch.setattr(ncbench_metrics.hierarchy, "_ENTRIES", 7 * 37)  # runs of a few images, the last one shorter
    assert compute(evaluation) == pytest.approx(whole, rel=1e-12)


@pytest.mark.parametrize(
    "evaluation",
    [
        of_logits([[1.0, 0.0, 0.0]], [0], hierarchy=None),
        make_evaluation([0], [0], None, 3, 0, hierarchy=PETS),
        of_logits(torch.zeros(0, 3), []),
        of_logits([[1.0, float("nan"), 0.0]], [0]),
    ],
    ids=["hierarchy", "logits", "images", "finite numbers"],
)
def test_what_is_missing_leaves_all_out(evaluation):
    assert compute(evaluation) == {}


@given(
    logits=st.lists(st.lists(st.integers(-1, 1), min_size=7, max_size=7), min_size=1, max_size=6),
    k=st.integers(1, 7),
)
def test_of_equal_logits_the_first_are_the_top_ones(logits, k):
    found = top_classes(torch.tensor(logits, dtype=torch.float32), k)
    assert found.tolist() == [sorted(range(7), key=lambda c: -row[c])[:k] for row in logits]  # sorted is stable
    assert found[:, 0].tolist() == torch.tensor(logits).argmax(dim=1).tolist()


@given(few=st.lists(st.integers(1, 50), min_size=3, max_size=3), order=st.permutations(range(3)))
def test_of_equal_expected_heights_the_first_class_is_chosen(few, order):
    # Two branches of the same probabilities: their sums are equal, but not always in their last bits.
    weights = [*few, *(few[place] for place in order)]
    tree = Hierarchy.from_categories([(f"c{i}", "a" if i < 3 else "b") for i in range(6)])
    heights = tree.distances(torch.float64).long().tolist()
    expected = [sum(w * h for w, h in zip(weights, row, strict=True)) for row in heights]  # exact: whole numbers
    p = torch.tensor([weights], dtype=torch.float64)
    assert Tree.of(tree, p.device).least_expected_height(p / p.sum()).tolist() == [expected.index(min(expected))]


def test_with_equal_logits_the_prediction_is_among_its_own_top_k():
    tree = Hierarchy.from_categories([(f"c{i}", "a" if i == 0 else "b") for i in range(100)])
    found = compute(of_logits(torch.zeros(50, 100), torch.zeros(50, dtype=torch.int64), tree))
    assert found["hierarchical_distance_at_1"] == 0
    assert found["hierarchical_distance_at_5"] == pytest.approx(4 / 5 * tree.height)
    assert found["crm_accuracy"] == 0  # one of the many is expected to be nearest to all


def test_without_mistakes_there_is_no_severity_and_every_level_is_right():
    metrics = compute(of_logits(10 * torch.eye(3), [0, 1, 2]))
    assert not {"mistake_severity", "crm_mistake_severity"} & metrics.keys()
    assert metrics["crm_accuracy"] == metrics["level_1_accuracy"] == metrics["level_2_accuracy"] == 1


def test_the_cards_list_exactly_what_can_be_computed():
    chain = Hierarchy.from_categories([(f"c{k}", *(f"{depth}-{k % 2}" for depth in range(24))) for k in range(25)])
    metrics = compute(of_logits(torch.eye(25).roll(1, 0), list(range(25)), chain))
    assert metrics.keys() == CARDS["hierarchy"].metrics.keys()
    assert all(isinstance(value, float) for value in metrics.values())
    assert frame(torch.eye(3), [0, 1, 2], torch.eye(3)).keys() == CARDS["frame"].metrics.keys()


def test_ten_thousand_classes_need_no_matrix_of_all_pairs():
    k = 10_000
    tree = Hierarchy.from_categories([(f"c{i}", f"g{i // 10}", f"h{i // 100}") for i in range(k)])
    generator = torch.Generator().manual_seed(0)
    logits, target = torch.randn(64, k, generator=generator), torch.randint(k, (64,), generator=generator)
    evaluation = of_logits(logits, target, tree)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    metrics = compute(evaluation)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before  # KiB
    assert grown < 300_000  # a K x K float64 matrix would be 800 MB
    assert 2.5 < metrics["hierarchical_distance_at_20"] < 3


@pytest.mark.real_data
def test_cifar100s_tree_has_five_levels():
    tree = Hierarchy.from_json(Path(os.environ["NCBENCH_DATA"]) / "hierarchies" / "cifar100.json")
    metrics = compute(of_logits(torch.eye(100), list(range(100)), tree))
    assert [name for name in metrics if name.startswith("level_")] == [f"level_{d}_accuracy" for d in range(1, 6)]


# Frame fidelity


def frame(features, target, weight, hierarchy=PETS, num_classes=3):
    evaluation = make_evaluation(
        *(target, target, None, num_classes, 0),
        split="train",
        features=features,
        weight=weight,
        hierarchy=hierarchy,
    )
    return FrameMetrics().compute(evaluation)


def test_features_on_the_classifier_have_perfect_fidelity_whatever_their_lengths():
    w = hierarchy_aware_frame(PETS, 1.0, 3, torch.Generator().manual_seed(0)).vectors
    metrics = frame(torch.tensor([1.0, 5.0, 0.2, 3.0])[:, None] * w[[0, 1, 2, 2]], [0, 1, 2, 2], w)
    assert list(metrics.values()) == pytest.approx([0, 0, 0], abs=1e-6)


def test_fidelity_by_hand():
    features = torch.tensor([[1.0, 0.0], [3.0, 0.0], [0.0, 2.0], [-1.0, 0.0]])  # means along 0, 90 and 180 degrees
    weight = torch.tensor([[2.0, 0.0], [1.0, 1.0], [0.0, 1.0]])  # 0, 45 and 90 degrees
    metrics = frame(features, [0, 0, 1, 2], weight)
    root = 2**-0.5
    gaps = [0 - root, -1 - 0, 0 - root]  # pairs (0, 1), (0, 2), (1, 2)
    assert metrics["frame_fidelity_mean"] == pytest.approx(np.mean(gaps))
    assert metrics["frame_fidelity_std"] == pytest.approx(np.std(gaps))
    assert metrics["frame_fidelity_deviation"] == pytest.approx(np.mean(np.abs(gaps)))


@pytest.mark.parametrize("num_classes", [4, 700])
def test_fidelity_against_a_textbook_computation(num_classes):
    generator = torch.Generator().manual_seed(0)
    target = torch.arange(3 * num_classes) % num_classes
    features = torch.randn(len(target), 6, generator=generator) + 100  # an offset is part of the means
    weight = torch.randn(num_classes, 6, generator=generator)
    tree = Hierarchy.from_categories([(f"c{k}", f"g{k % 2}") for k in range(num_classes)])
    metrics = frame(features, target.tolist(), weight, tree, num_classes)
    means = np.stack([features.double().numpy()[target.numpy() == c].mean(0) for c in range(num_classes)])
    upper = np.triu_indices(num_classes, 1)

    def cosines(rows):
        rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        return (rows @ rows.T)[upper]

    gaps = cosines(means) - cosines(weight.double().numpy())
    expected = [gaps.mean(), gaps.std(), np.abs(gaps).mean()]
    assert list(metrics.values()) == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_classes_without_an_angle_take_no_part():
    features = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    weight = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    assert frame(features, [0, 1, 2], weight)["frame_fidelity_mean"] == -1  # class 2 has a zero mean
    assert frame(features[:2], [0, 1], weight)["frame_fidelity_mean"] == -1  # class 2 has no images
    assert frame(features[:1], [0], weight) == {}


def test_fidelity_is_left_out_without_a_tree_a_linear_classifier_or_finite_numbers():
    eye, broken = torch.eye(3), torch.full((3, 3), float("inf"))
    assert frame(eye, [0, 1, 2], eye, hierarchy=None) == {}
    assert frame(eye, [0, 1, 2], None) == {}
    assert frame(broken, [0, 1, 2], eye) == {}
    assert frame(eye, [0, 1, 2], broken) == {}


def test_when_and_of_what_they_are_measured():
    assert (HierarchyMetrics.needs, HierarchyMetrics.splits, HierarchyMetrics.when) == (
        {"logits"},
        ("val", "test"),
        "always",
    )
    assert (FrameMetrics.needs, FrameMetrics.splits, FrameMetrics.when) == ({"feature_stream"}, ("train",), "scheduled")
