"""badd and flac: a network of the bias attribute first, then a network beside it."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F

from ncbench import Progress, Supervision
from ncbench_methods.erm import ERM
from ncbench_methods.invariance.badd import BAdd
from ncbench_methods.invariance.flac import FLAC, flac_divergence

from .conftest import normal, total

BIAS = Supervision(train="bias")
TRAINING = Progress("train", 0, 3, 0, 2)
each_method = pytest.mark.parametrize("method_class", [BAdd, FLAC])


@each_method
def test_the_first_stage_trains_the_network_of_the_attribute_and_the_second_the_other(method_class, toy, make):
    method = make(method_class, toy, BIAS)
    assert [(stage.name, stage.epochs) for stage in method.stages(7)] == [("attribute", 5), ("train", 7)]
    before = copy.deepcopy(method.state_dict())
    for progress, part in ((Progress("attribute", 0, 5, 0, 2), "attribute_"), (TRAINING, "")):
        method.progress = progress
        method.train()
        optimizer = torch.optim.SGD(method.parameter_groups(), lr=0.1)
        total(method.loss(toy.batch())).backward()
        optimizer.step()
        now = method.state_dict()
        changed = {name for name in now if not torch.equal(now[name], before[name])}
        assert changed
        assert all(name.startswith("attribute_") == bool(part) for name in changed)
        before = copy.deepcopy(now)
        method.zero_grad()


def test_the_attribute_is_learned_by_cross_entropy(toy, make):
    method = make(BAdd, toy, BIAS, norm=False)
    method.progress = Progress("attribute", 0, 5, 0, 2)
    logits = method.attribute_classifier(method.attribute_backbone(toy.images))
    torch.testing.assert_close(total(method.loss(toy.batch())), F.cross_entropy(logits, toy.bias))


def test_badd_adds_the_attributes_features_in_training_alone(toy, make):
    method = make(BAdd, toy, BIAS, norm=False, m=0.5)
    method.progress = TRAINING
    h, h_b = method.backbone(toy.images), method.attribute_backbone(toy.images)
    expected = F.cross_entropy(method.classifier(h + 0.5 * h_b), toy.target)
    torch.testing.assert_close(total(method.loss(toy.batch())), expected)
    torch.testing.assert_close(method.eval()(toy.images), method.classifier(h))


@pytest.mark.parametrize(("method_class", "values"), [(BAdd, {"m": 0.0}), (FLAC, {"weight": 0.0})])
def test_without_its_part_the_attribute_leaves_erm(method_class, values, toy, make):
    method, erm = make(method_class, toy, BIAS, **values), make(ERM, toy)
    method.progress = TRAINING
    method.train()
    assert total(method.loss(toy.batch())).item() == pytest.approx(erm.loss(toy.batch(bias=False)).item())


@each_method
def test_with_it_the_networks_learn_otherwise_than_erm(method_class, toy, make):
    method, erm = make(method_class, toy, BIAS), make(ERM, toy)
    method.progress = TRAINING
    method.train()
    got = torch.autograd.grad(total(method.loss(toy.batch())), list(method.backbone.parameters()))
    expected = torch.autograd.grad(erm.loss(toy.batch(bias=False)), list(erm.backbone.parameters()))
    assert max((mine - theirs).abs().max().item() for mine, theirs in zip(got, expected, strict=True)) > 1e-4


def divergence_by_hand(h, h_b, target, power):
    def similarity(a, b):
        return 1 / (1 + ((a - b).square().sum() + 1e-6).sqrt() ** power)

    n = len(h)
    s = [[similarity(h[i], h[j]) for j in range(n)] for i in range(n)]
    s_b = [[similarity(h_b[i], h_b[j]) for j in range(n)] for i in range(n)]
    middle = (max(map(max, s_b)) + min(map(min, s_b))) / 2
    pairs = [
        [j for j in range(n) if (s_b[i][j] < middle if target[i] == target[j] else s_b[i][j] > middle)]
        for i in range(n)
    ]
    terms = []
    for i in range(n):
        sum_b, sum_h = sum(1 - s_b[i][j] for j in pairs[i]), sum(s[i][j] for j in pairs[i])
        for j in pairs[i]:
            p, q = (1 - s_b[i][j]) / (sum_b + 1e-7), s[i][j] / (sum_h + 1e-7)
            terms.append((p - q) * (p.log() - q.log()))
    return sum(terms) / len(terms)


@pytest.mark.parametrize("power", [0.5, 1.0])
def test_flac_is_its_sum_over_the_pairs_that_count(power):
    h, h_b, target = normal(9, 4), normal(9, 3, seed=1), torch.arange(9) % 3
    expected = divergence_by_hand(h, h_b, target, power)
    assert flac_divergence(h, h_b, target, power).item() == pytest.approx(expected.item(), rel=1e-6)


def test_flac_asks_nothing_where_no_pair_counts():
    h = normal(6, 4).requires_grad_()
    # Two classes that the attribute separates, as it should.
    target, h_b = torch.tensor([0, 0, 0, 1, 1, 1]), torch.tensor([[0.0], [0], [0], [9], [9], [9]])
    divergence = flac_divergence(h, h_b.double(), target, 0.5)
    assert divergence.item() == 0
    assert not torch.autograd.grad(divergence, h)[0].any()
    assert flac_divergence(normal(1, 4), normal(1, 4), torch.tensor([0]), 0.5).item() == 0


def test_flac_draws_images_of_a_class_together_that_the_attribute_sets_apart():
    h = normal(8, 3).requires_grad_()
    target, h_b = torch.tensor([0, 0, 1, 1] * 2), torch.tensor([0.0, 1, 0, 1] * 2)[:, None]
    optimizer = torch.optim.Adam([h], lr=0.05)
    for _ in range(200):
        optimizer.zero_grad()
        flac_divergence(h, h_b.double(), target, 0.5).backward()
        optimizer.step()
    distance = torch.cdist(h, h).detach()
    apart = distance[(target[:, None] == target) & (h_b != h_b.T)].mean()
    alike = distance[(target[:, None] != target) & (h_b == h_b.T)].mean()
    assert apart < alike
