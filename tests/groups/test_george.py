"""GEORGE: what is clustered, into how many, and which parts of a cluster become groups."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import adjusted_rand_score, silhouette_samples

from ncbench_groups.george import GEORGE, boundary_distances, choose_number, fit, subclasses
from tests.groups.test_inferences import blobs, inference

seeds = st.integers(0, 2**32 - 1)


@pytest.mark.parametrize("model", ["gmm", "kmeans"])
@pytest.mark.parametrize("k", [0, 3])
def test_planted_blobs_are_found_and_numbered_by_their_size(model: str, k: int) -> None:
    points, target, blob = blobs(0, (40, 25, 10), 3)
    method, view = inference(GEORGE, points, target, reduce="none", model=model, k=k, most=5, val=True)
    groups = method.infer(view, view)
    assert torch.equal(groups.train, blob)
    assert groups.val is not None
    assert torch.equal(groups.val, blob)
    assert groups.count == 3
    assert method.report["clusters"] == 9
    assert ("silhouette" in method.report) is (k == 0)


@settings(max_examples=5)
@given(seeds)
def test_permuting_images_permutes_groups(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    points, target = torch.randn(60, 3, generator=generator), torch.randint(3, (60,), generator=generator)
    target[:3] = torch.arange(3)
    order = torch.randperm(60, generator=generator)
    found = []
    for each in (torch.arange(60), order):
        method, view = inference(GEORGE, points[each], target[each], k=3, overcluster=2)
        found.append(method.infer(view, None).train)
    assert torch.equal(found[1], found[0][order])


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_points_that_lie_close_together_are_told_apart_as_well(scale: float) -> None:
    points, target, blob = blobs(0, (40, 25, 10), 3)
    method, view = inference(GEORGE, points * scale, target, reduce="none", most=5, val=True)
    groups = method.infer(view, view)
    assert torch.equal(groups.train, blob)
    assert groups.val is not None
    assert torch.equal(groups.val, blob)


@given(seeds, st.integers(2, 6))
def test_the_distance_is_that_to_the_nearest_point_where_another_class_is_as_good(seed: int, classes: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    weight, bias, features = (
        torch.randn(*shape, dtype=torch.float64, generator=generator) for shape in ((classes, 8), (classes,), (20, 8))
    )
    target = torch.randint(classes, (20,), generator=generator)
    logits = features @ weight.T + bias
    distance = boundary_distances(logits, target, weight)
    right = logits.argmax(1) == target
    assert torch.equal(distance >= 0, right)
    for image in range(20):
        normals = weight[target[image]] - weight
        others = [j for j in range(classes) if j != target[image]]
        feet = features[image] - distance[image] * torch.nn.functional.normalize(normals[others], dim=1)
        on_it = feet @ weight.T + bias
        margins = on_it[:, target[image]] - on_it[torch.arange(len(others)), others]
        assert float(margins.min().abs()) < 1e-9  # it reaches one boundary, and no other first
        assert float(margins.min()) > -1e-9


def test_by_default_images_that_are_far_from_the_boundary_are_another_group_than_those_beyond_it() -> None:
    generator = torch.Generator().manual_seed(0)
    target, aligned = torch.arange(200) % 2, torch.arange(200) < 160
    margin = torch.where(aligned, 3.0, -3.0) + 0.2 * torch.randn(200, generator=generator)
    logits = torch.stack([torch.where(target == 0, margin, -margin), torch.zeros(200)], dim=1)
    method, view = inference(GEORGE, logits, target)
    groups = method.infer(view, None)
    assert groups.count == 2
    assert torch.equal(groups.train == 0, aligned)


def test_small_clusters_count_as_much_as_large_ones_when_their_number_is_chosen() -> None:
    generator = np.random.default_rng(0)
    points = generator.normal(size=(120, 2)) * 0.6 + np.repeat([[0, 0], [3, 0], [0, 9]], [90, 20, 10], axis=0)
    scores = {}
    for number in range(2, 7):
        part = fit(points, "kmeans", number, 0).predict(points)
        silhouette = silhouette_samples(points, part)
        scores[number] = np.mean([silhouette[part == each].mean() for each in range(number)])
    number, score = choose_number(points, "kmeans", 6, 0)
    assert number == max(scores, key=lambda each: scores[each])
    assert score == pytest.approx(scores[number])


@pytest.mark.parametrize("points", [np.zeros((5, 2)), np.zeros((1, 2)), np.array([[0.0], [0.0], [1.0]])])
@pytest.mark.parametrize("model", ["gmm", "kmeans"])
def test_few_different_images_give_as_many_groups_at_most(points: np.ndarray, model: str) -> None:
    assert choose_number(points, model, 10, 0) == (1, None)
    group, _ = subclasses(points, np.zeros(len(points)), None, model, 8, 3, 0)
    assert group.max() + 1 == len(np.unique(points, axis=0))


def hidden(small: int, val: int, loss: float) -> tuple[np.ndarray, ...]:
    """Return a class of two clusters, one of which has a small part of its own, with other losses."""
    generator = np.random.default_rng(1)

    def draw(part: int) -> np.ndarray:
        centres = np.repeat([[0.0, 0], [10, 0], [24, 0]], [200, part, 200], axis=0)
        return centres + 0.2 * generator.normal(size=centres.shape)

    losses = np.repeat([1.0, loss, 1.0], [200, small, 200])
    return draw(small), losses, draw(val), np.repeat([0, 1, 2], [200, small, 200])


@pytest.mark.parametrize(
    ("small", "val", "loss", "kept"),
    [
        (40, 40, 2.0, True),
        (40, 40, 0.5, True),  # the large part, which is then the harder one
        (20, 40, 0.5, True),
        (20, 40, 2.0, False),  # too small, and the large part is not harder
        (40, 20, 2.0, False),  # too small in validation
    ],
)
def test_a_part_is_kept_that_is_apart_and_harder_and_large_enough(
    small: int, val: int, loss: float, kept: bool
) -> None:
    points, losses, val_points, blob = hidden(small, val, loss)
    group, val_group = subclasses(points, losses, val_points, "kmeans", 2, 2, 0)
    whole, _ = subclasses(points, losses, val_points, "kmeans", 2, 1, 0)
    assert adjusted_rand_score(blob > 1, whole) == 1
    assert adjusted_rand_score(blob if kept else blob > 1, group) == 1
    assert len(np.unique(val_group)) == (3 if kept else 2)
    without_val, _ = subclasses(points, losses, None, "kmeans", 2, 2, 0)
    assert adjusted_rand_score(blob > 1 if small == 20 and loss > 1 else blob, without_val) == 1


def test_one_cluster_a_class_is_the_class() -> None:
    points, target, _ = blobs(0, (10, 5), 3)
    method, view = inference(GEORGE, points, target, k=1)
    groups = method.infer(view, None)
    assert groups.count == 1
    assert not bool(groups.train.any())
