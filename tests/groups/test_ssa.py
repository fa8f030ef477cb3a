"""SSA: who learns from which image, when a pseudo-attribute counts, and what is told in the end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

import ncbench
from ncbench import Batch, Groups, Stage
from ncbench.conformance.kit import checks
from ncbench.conformance.problem import images_of, make_problem
from ncbench.conformance.subject import Subject
from ncbench.conformance.training import RECIPE, build, run, train
from ncbench.data.store.open import Store
from ncbench.training.loop import start_stage
from ncbench.training.recipe import Recipe
from ncbench.training.splits import load_splits
from ncbench_groups.ssa import FOLDS, SSA, group_thresholds


def subject(spec: str = "ssa") -> Subject:
    found: Subject = checks(spec, "groups")[0].subject
    return found


@given(st.integers(0, 2**32 - 1), st.integers(1, 8), st.integers(0, 40), st.booleans())
def test_a_threshold_is_the_least_that_leaves_no_more_images_than_the_rarest_group_has(
    seed: int, groups: int, images: int, rounded: bool
) -> None:
    """Against every threshold that there is, one after the other, also where probabilities are equal."""
    generator = torch.Generator().manual_seed(seed)
    probability = 0.5 + 0.5 * torch.rand(images, dtype=torch.float64, generator=generator)
    probability = probability.mul(4).round().div(4) if rounded else probability
    cell = torch.randint(groups, (images,), generator=generator)
    labelled = torch.randint(12, (groups,), generator=generator)
    labelled[0] += 1
    found = group_thresholds(probability, cell, labelled, 0.95)
    rarest = min((number, group) for group, number in enumerate(labelled.tolist()) if number)[1]
    assert found[rarest] == 0.95

    def held(group: int, threshold: float) -> int:
        return int(labelled[group] + ((cell == group) & (probability >= threshold)).sum())

    most = held(rarest, 0.95)
    for group in set(range(groups)) - {rarest}:
        fitting = [each for each in [0.0, *probability.tolist(), np.inf] if held(group, each) <= most]
        counts = probability[cell == group] >= found[group]
        assert torch.equal(counts, probability[cell == group] >= min(fitting, default=np.inf))


def test_each_image_is_labelled_by_a_network_that_has_not_seen_it() -> None:
    problem = make_problem()
    seen: list[tuple[int, torch.Tensor]] = []

    def order(own: Callable[..., torch.Tensor], view: Any, generator: torch.Generator) -> torch.Tensor:
        method, positions = own.__self__, own(view, generator)  # type: ignore[attr-defined]
        seen.append((int(method.current), positions))
        assert set(method.partner.tolist()) <= set(method.learned.tolist())
        return positions

    fitted = run(subject("ssa:epochs=2"), problem, order=order)
    method = fitted.method
    assert isinstance(method, SSA)
    assert [fold for fold, _ in seen] == [0, 0, 1, 1, 2, 2]
    for fold, positions in seen:
        assert torch.equal(positions.sort().values, (method.fold != fold).nonzero()[:, 0])
    sizes = method.fold.bincount()
    assert len(sizes) == FOLDS
    assert int(sizes.max() - sizes.min()) <= 1
    halves = [set(half.tolist()) for half in (method.learned, method.judged)]
    assert halves[0].isdisjoint(halves[1])
    assert halves[0] | halves[1] == set(range(len(problem.splits["val"])))


def two_classes(per_group: int = 30) -> Store:
    """Return a problem whose attribute is plain to see."""
    return make_problem(2, per_group=per_group)


def test_networks_that_learn_the_attribute_give_what_the_attribute_gives() -> None:
    problem = two_classes()
    fitted = run(subject("ssa:epochs=8"), problem, recipe=Recipe.build({**RECIPE.as_dict(), "lr": 0.01}, owner="it"))
    assert fitted.groups is not None
    attribute = torch.tensor(problem.splits["train"].bias)
    assert torch.equal(fitted.groups.train, attribute)
    assert fitted.groups.count == 2
    assert fitted.groups.val is None
    assert fitted.report["attribute_worst_group_accuracy"] == 1
    assert "val" in fitted.fitted
    consumer = checks("group_dro", "method")[0].subject
    labels = Groups(attribute, 2)
    on_labels, on_inferred = (train(consumer, problem, groups=groups) for groups in (labels, fitted.groups))
    for one, other in zip(on_labels.state_dict().values(), on_inferred.state_dict().values(), strict=True):
        assert torch.equal(one, other)


def started(problem: Store) -> tuple[SSA, Any]:
    """Return the method at the beginning of its first epoch, and the training images that it is shown."""
    chosen = subject()
    method = build(chosen, problem)
    assert isinstance(method, SSA)
    splits = load_splits(problem, RECIPE, (), (), torch.device("cpu"), torch.contiguous_format)
    views = {name: splits[name].view(method.task, RECIPE) for name in ("train", "val")}
    method.eval()
    start_stage(method, method.stages(1)[0], views["train"], views["val"])
    method.order(views["train"], torch.Generator().manual_seed(0))
    return method, views["train"]


def test_the_loss_is_that_of_both_kinds_of_images() -> None:
    problem = two_classes(8)
    method, view = started(problem)
    images, images_of_val = images_of(problem), images_of(problem, "val")
    index = (method.fold != 0).nonzero()[:12, 0]
    batch = Batch(images[index], view.target[index], index)
    logits = method.classifier(method.features(images[index]))
    p, attribute = logits.softmax(1).max(1)
    cell = 2 * batch.target + attribute
    middle = p.detach().sort().values[5:7].double().mean()
    method.thresholds = middle.repeat(4)
    counts = p.double() >= method.thresholds[cell]
    partner = method.partner[index]
    bias = torch.tensor(problem.splits["val"].bias)[partner]
    found = method.loss(batch)
    of_val = method.classifier(method.features(images_of_val[partner]))
    torch.testing.assert_close(found["attribute"], F.cross_entropy(of_val, bias))
    torch.testing.assert_close(found["pseudo_attribute"], F.cross_entropy(logits[counts], attribute[counts]))
    assert 0 < int(counts.sum()) < len(counts)
    method.thresholds = torch.full((4,), torch.inf, dtype=torch.float64)
    assert float(method.loss(batch)["pseudo_attribute"]) == 0


def test_as_a_classifier_it_goes_by_the_attribute() -> None:
    problem = make_problem(3, per_group=6)
    whole = problem.splits["val"]
    assert whole.bias is not None
    some = {name: getattr(whole, name)[:8] for name in ("inputs", "target", "bias", "ids")}
    method = build(subject(), replace(problem, splits={**problem.splits, "val": replace(whole, **some)}))
    assert isinstance(method, SSA)
    features = torch.randn(20, method.backbone.feature_dim, generator=torch.Generator().manual_seed(0))
    of_attribute = method.classifier(features).softmax(1)  # (N, B)
    counts = method.task.val_group_counts.clamp_min(1).double()
    expected = of_attribute.double() @ (counts / counts.sum(0)).T
    torch.testing.assert_close(method.classify(features).exp().double(), expected, rtol=1e-5, atol=1e-6)
    assert method.classifier_parameters() is None


def test_a_better_epoch_labels_a_fold_anew_and_a_worse_one_does_not() -> None:
    problem = two_classes(8)
    method, view = started(problem)
    val = method.val
    held_out = method.fold == 0
    with torch.no_grad():
        method.classifier.weight.zero_()
        method.classifier.bias.copy_(torch.tensor([1.0, 0.0]))
    start_stage(method, Stage("fold 1", 1, continues=True), view, val)
    assert set(method.attribute[held_out].tolist()) == {0}
    worst, mean = method.scores[0].tolist()
    assert worst == 0 < mean
    with torch.no_grad():
        method.classifier.bias.copy_(torch.tensor([0.0, 1.0]))
        method.scores[0, 1] = 0  # worse in the mean
    start_stage(method, Stage("fold 1", 1, continues=True), view, val)
    assert set(method.attribute[held_out].tolist()) == {1}
    method.scores[0] = 0.9
    with torch.no_grad():
        method.classifier.bias.copy_(torch.tensor([1.0, 0.0]))
    start_stage(method, Stage("fold 2", 1), view, val)
    assert set(method.attribute[held_out].tolist()) == {1}
    assert int(method.current) == 1
    assert method.scores[1].tolist() == [-1, -1]


def test_the_record_states_the_labels_of_validation_images(tmp_path: Path) -> None:
    result = ncbench.run(
        "reweight",
        dataset="colored_digits:val=0.3",
        groups="ssa:epochs=1",
        output=tmp_path,
        set={"recipe.epochs": 1},
        warn=lambda line: None,
    )
    assert result.record.status == "completed"
    used = result.record.method.supervision
    assert (used.train, used.val) == ("none", "bias")
    with pytest.raises(ncbench.ConfigurationError, match="validation images, and this dataset has none"):
        ncbench.run("reweight", dataset="colored_digits", groups="ssa:epochs=1", output=tmp_path)
