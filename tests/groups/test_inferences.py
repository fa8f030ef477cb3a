"""What the built-in inferences find, against what must come out and against other ways to compute it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import adjusted_rand_score
from torch import Tensor, nn

from ncbench import Backbone, GroupInference, Groups, Parameters, SplitView, Supervision, Task
from ncbench_groups.clusters import Clusters, choose_number, find_clusters
from ncbench_groups.eiil import EIIL, climb, slopes
from ncbench_groups.errors import Errors

seeds = st.integers(0, 2**32 - 1)


class AsGiven(Backbone):
    """Hands its inputs on, in place of what a network would make of them."""

    takes_vectors = True

    def __init__(self, dim: int) -> None:
        super().__init__((dim,), Parameters())
        self.feature_dim = dim

    def forward(self, images: Tensor) -> Tensor:
        return images


def inference(
    kind: type[GroupInference], inputs: Tensor, target: Tensor, classifier: Tensor | None = None, **values: Any
) -> tuple[GroupInference, SplitView]:
    """Return an inference on vectors (N, d), whose logits are these or what a (K, d) classifier makes of them."""
    num_classes = int(target.max()) + 1
    task = Task.of(
        {"train": (target, None), "val": (target, None)},
        class_names=[str(k) for k in range(num_classes)],
        bias_names=(),
        input_shape=tuple(inputs.shape[1:]),
        hierarchy=None,
        seed=0,
        supervision=Supervision(),
    )
    method = kind(task, kind.Parameters.build(values, owner="it"), lambda spec=None: AsGiven(inputs.shape[1]))
    weight = torch.eye(num_classes, inputs.shape[1]) if classifier is None else classifier
    with torch.no_grad():
        method.classifier.weight.copy_(weight)
        method.classifier.bias.zero_()

    def pass_over(positions: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        for index in positions.split(64):
            yield inputs[index], index

    return method.eval(), SplitView.of("train", target, None, Supervision(), pass_over)


def logits_and_targets(seed: int, number: int, num_classes: int, scale: float) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = scale * torch.randn(number, num_classes, generator=generator)
    return logits, torch.randint(num_classes, (number,), generator=generator)


@given(seeds, st.integers(2, 12), st.sampled_from([0.1, 1.0, 30.0]))
def test_the_slope_is_the_gradient_of_the_loss_in_the_classifiers_scale(seed: int, classes: int, scale: float) -> None:
    logits, target = logits_and_targets(seed, 40, classes, scale)
    logits = logits.double()
    factor = torch.ones(40, dtype=torch.float64, requires_grad=True)  # one an image: their losses don't mix
    F.cross_entropy(factor[:, None] * logits, target, reduction="sum").backward()
    torch.testing.assert_close(slopes(logits, target), factor.grad, rtol=1e-9, atol=1e-9)


@given(seeds, st.sampled_from([0.01, 1.0, 1000.0]))
def test_two_classes_give_the_error_set_exactly(seed: int, scale: float) -> None:
    logits, target = logits_and_targets(seed, 200, 2, scale)
    found = [
        method.infer(view, None).train for kind in (EIIL, Errors) for method, view in [inference(kind, logits, target)]
    ]
    assert torch.equal(*found)
    assert torch.equal(found[0], (logits.argmax(1) != target).long())


@pytest.mark.slow
@pytest.mark.parametrize("classes", [2, 10])
def test_ten_thousand_published_steps_end_where_the_closed_form_does(classes: int) -> None:
    """On every one of 2,000 images with normal logits."""
    logits, target = logits_and_targets(1, 2000, classes, 1.0)
    slope = slopes(logits, target)
    climbed = climb(slope, torch.Generator().manual_seed(0))
    assert torch.equal(climbed, slope > 0)


def test_more_than_two_classes_give_a_part_of_the_error_set() -> None:
    logits, target = logits_and_targets(2, 2000, 10, 1.0)
    method, view = inference(EIIL, logits, target)
    found, wrong = method.infer(view, None).train == 1, logits.argmax(1) != target
    assert not bool((found & ~wrong).any())
    assert 0 < int(found.sum()) < int(wrong.sum())


@pytest.mark.parametrize("kind", [Errors, EIIL])
@pytest.mark.parametrize("val", [False, True])
def test_validation_images_are_annotated_where_asked_for(kind: type[GroupInference], val: bool) -> None:
    logits, target = logits_and_targets(3, 100, 4, 1.0)
    method, view = inference(kind, logits, target, val=val)
    groups = method.infer(view, view)
    assert type(method).annotates_val(method.params) is val
    assert (groups.val is not None) is val
    if groups.val is not None:
        assert torch.equal(groups.val, groups.train)


def blobs(seed: int, sizes: tuple[int, ...], classes: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return points around centres far apart, their classes, and which of its class's blobs each is of."""
    generator = torch.Generator().manual_seed(seed)
    points, target, blob = [], [], []
    for label in range(classes):
        for place, size in enumerate(sizes):
            centre = torch.tensor([100.0 * label, 20.0 * place, 5.0 * place * (-1) ** label])
            points.append(centre + 0.5 * torch.randn(size, 3, generator=generator))
            target.append(torch.full((size,), label))
            blob.append(torch.full((size,), place))
    order = torch.randperm(classes * sum(sizes), generator=generator)
    return torch.cat(points)[order], torch.cat(target)[order], torch.cat(blob)[order]


def cluster(points: Tensor, target: Tensor, **values: Any) -> tuple[Groups, GroupInference]:
    method, view = inference(Clusters, points, target, **values)
    return method.infer(view, view), method


@pytest.mark.parametrize("k", [0, 3])
def test_planted_blobs_are_found_and_numbered_by_their_size(k: int) -> None:
    points, target, blob = blobs(0, (40, 25, 10), 3)
    groups, method = cluster(points, target, k=k, val=True)
    for label in range(3):
        own = target == label
        assert adjusted_rand_score(blob[own], groups.train[own]) == 1
    assert torch.equal(groups.train, blob)  # the largest is group 0
    assert groups.count == 3
    assert groups.val is not None
    assert torch.equal(groups.val, blob)
    assert method.report["clusters"] == 9
    assert ("silhouette" in method.report) is (k == 0)


def test_the_cosine_clusters_directions_whatever_the_length() -> None:
    generator = torch.Generator().manual_seed(0)
    direction = torch.arange(60) % 3
    points = F.one_hot(direction, 3) + 0.05 * torch.randn(60, 3, generator=generator)
    points = points * (1 + 99 * torch.rand(60, 1, generator=generator))
    groups, _ = cluster(points, torch.zeros(60, dtype=torch.int64), k=3, metric="cosine", val=True)
    assert adjusted_rand_score(direction, groups.train) == 1
    assert groups.val is not None
    assert torch.equal(groups.val, groups.train)
    by_length, _ = cluster(points, torch.zeros(60, dtype=torch.int64), k=3)
    assert adjusted_rand_score(direction, by_length.train) < 1


@settings(max_examples=10)
@given(seeds)
def test_permuting_images_permutes_clusters(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    points, target = torch.randn(60, 3, generator=generator), torch.randint(3, (60,), generator=generator)
    target[:3] = torch.arange(3)
    order = torch.randperm(60, generator=generator)
    groups, _ = cluster(points, target, k=4)
    permuted, _ = cluster(points[order], target[order], k=4)
    assert torch.equal(permuted.train, groups.train[order])


@pytest.mark.parametrize(
    "features", [np.zeros((5, 2)), np.zeros((1, 2)), np.array([[0.0], [0.0], [1.0]])], ids=["equal", "one", "two"]
)
def test_few_different_images_give_as_many_clusters_at_most(features: np.ndarray) -> None:
    number, score = choose_number(features, 10, 0)
    assert (number, score) == (1, None)
    group, centres = find_clusters(features, 8, 0)
    assert len(centres) == len(np.unique(features, axis=0)) == group.max() + 1


def test_a_class_without_training_images_has_no_clusters_and_its_validation_images_are_of_group_0() -> None:
    points, target, _ = blobs(0, (10, 5), 3)
    method, view = inference(Clusters, points, target, k=2, val=True)
    rest = target != 1

    def without(positions: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        for index in positions.split(8):
            yield points[rest][index], index

    groups = method.infer(SplitView.of("train", target[rest], None, Supervision(), without), view)
    assert groups.val is not None
    assert set(groups.val[target == 1].tolist()) == {0}
    assert groups.count == 2


def test_consumers_on_one_group_are_their_variant_of_classes(make_consumer: Callable[..., nn.Module]) -> None:
    """One group everywhere leaves (class, group) as many cells as there are classes."""
    for name in ("reweight", "resample"):
        of_class, of_group = make_consumer(f"{name}:by=class"), make_consumer(name)
        for one, other in zip(of_class.state_dict().values(), of_group.state_dict().values(), strict=True):
            assert torch.equal(one, other)


@pytest.fixture
def make_consumer() -> Callable[..., nn.Module]:
    """Train a method for a few steps on one group everywhere."""
    from ncbench.conformance.kit import checks
    from ncbench.conformance.problem import make_problem
    from ncbench.conformance.training import train

    problem = make_problem(per_group=3)
    one = {name: torch.zeros(len(split), dtype=torch.int64) for name, split in problem.splits.items()}

    def trained(spec: str) -> nn.Module:
        subject = checks(spec, "method")[0].subject
        return train(subject, problem, groups=Groups(one["train"], 1, one["val"]))

    return trained
