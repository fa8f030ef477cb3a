"""XRM: whose image is whose, when a label changes, and what is told in the end."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from ncbench import Batch, Progress
from ncbench.conformance.kit import checks
from ncbench.conformance.problem import make_problem
from ncbench.conformance.training import build, run, train
from ncbench_groups.xrm import XRM, changed_labels


def made() -> XRM:
    subject = checks("xrm", "groups")[0].subject
    method = build(subject, make_problem())
    assert isinstance(method, XRM)
    return method


@given(st.integers(2, 10))
def test_a_label_never_changes_at_a_tie_and_always_at_certainty(classes: int) -> None:
    label = torch.full((50,), classes - 1)
    chance = torch.rand(50, generator=torch.Generator().manual_seed(0))
    undecided, certain = torch.zeros(50, classes), torch.zeros(50, classes)
    certain[:, 0] = 1e4
    assert torch.equal(changed_labels(undecided, label, chance), label)
    assert changed_labels(certain, label, chance).tolist() == [0] * 50


def test_a_label_changes_as_often_as_the_formula_says() -> None:
    logits = torch.tensor([[2.0, 0.0, 0.0]]).expand(200_000, 3)
    p = float(logits[0].softmax(0).max())
    changed = changed_labels(logits, torch.ones(200_000, dtype=torch.int64), torch.rand(200_000))
    assert float((changed == 0).float().mean()) == pytest.approx((p - 1 / 3) * 3 / 2, abs=0.005)


def test_an_image_trains_its_own_twin_alone() -> None:
    method = made().eval()
    problem = make_problem()
    number = len(problem.splits["train"])
    target = torch.tensor(problem.splits["train"].target)
    images = torch.rand(number, 3, 4, 4)
    method.label.copy_(target)
    for mine in (True, False):
        index = (method.own == mine).nonzero()[:, 0]
        first, second = method.both(images[index])
        chosen = first if mine else second
        losses = F.cross_entropy(chosen, target[index], reduction="none")
        expected = sum(losses[target[index] == label].mean() for label in target[index].unique())
        batch = type("Batch", (), {"images": images[index], "index": index, "target": target[index]})
        method.zero_grad()
        loss = method.loss(batch)
        torch.testing.assert_close(loss, expected)
        loss.backward()
        trained, other = (
            (method.classifier, method.twin_classifier) if mine else (method.twin_classifier, method.classifier)
        )
        assert trained.weight.grad is not None
        assert bool(trained.weight.grad.any())
        assert other.weight.grad is None or not bool(other.weight.grad.any())
        method.label.copy_(target)


def test_twins_differ_and_what_either_gets_wrong_is_group_1() -> None:
    problem = make_problem()
    subject = checks("xrm", "groups")[0].subject
    fitted = run(subject, problem)
    method = fitted.method
    assert isinstance(method, XRM)
    assert not torch.equal(method.classifier.weight, method.twin_classifier.weight)
    images = torch.tensor(problem.splits["train"].inputs).permute(0, 3, 1, 2) / 255
    target = torch.tensor(problem.splits["train"].target)
    with torch.no_grad():
        wrong = [logits.argmax(1) != target for logits in method.both(images)]
    assert fitted.groups is not None
    assert torch.equal(fitted.groups.train, (wrong[0] | wrong[1]).long())
    assert fitted.report["flips"] == pytest.approx(float((method.label != target).float().mean()))
    assert 0 < int(method.own.sum()) < len(target)
    assert torch.equal(method.own, train(subject, problem).own)


def test_labels_are_drawn_by_the_seed_and_the_position_and_leave_the_global_generator_alone() -> None:
    labels = []
    for step in (0, 0, 1):
        method = made().eval()
        method.progress = Progress("identify", 0, 2, step, 2)
        for head in (method.classifier, method.twin_classifier):
            torch.nn.init.normal_(head.weight, std=5, generator=torch.Generator().manual_seed(0))
        number = method.task.num_train
        images = torch.rand(number, 3, 4, 4, generator=torch.Generator().manual_seed(1))
        torch.manual_seed(len(labels))
        state = torch.get_rng_state()
        method.loss(Batch(images, torch.zeros(number, dtype=torch.int64), torch.arange(number)))
        assert torch.equal(torch.get_rng_state(), state)
        labels.append(method.label.clone())
    assert torch.equal(labels[0], labels[1])
    assert not torch.equal(labels[0], labels[2])
