"""irm, vrex, mmd and coral against their definitions, environment by environment."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from ncbench import Progress, Supervision
from ncbench_methods.erm import ERM
from ncbench_methods.invariance.badd import BAdd
from ncbench_methods.invariance.dann import DANN
from ncbench_methods.invariance.domain_independent import DomainIndependent
from ncbench_methods.invariance.end import EnD
from ncbench_methods.invariance.environments import Environments, scale_gradients, squared_distances
from ncbench_methods.invariance.feature_matching import CORAL, MMD
from ncbench_methods.invariance.fishr import Fishr
from ncbench_methods.invariance.flac import FLAC
from ncbench_methods.invariance.pgi import PGI
from ncbench_methods.invariance.risks import IRM, VREx

from .conftest import normal, total

BIAS = Supervision(train="bias")
AT_FIRST = Progress("train", epoch=0, epochs=5, step=49, steps=100)
ANNEALED = Progress("train", epoch=0, epochs=5, step=50, steps=100)  # a tenth is done
each_method = pytest.mark.parametrize("method_class", [IRM, VREx, MMD, CORAL, Fishr])


def environments_of(*sizes):
    """The environments of a batch, of these sizes, their images one after another."""
    return Environments.of(torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes)), len(sizes))


# The shared pieces


def test_the_gradient_of_a_scale_on_the_logits_is_autograds():
    logits, target = 5 * normal(6, 4), torch.tensor([0, 1, 2, 3, 0, 1])
    for row, label, gradient in zip(logits, target, scale_gradients(logits, target), strict=True):
        scale = torch.ones((), dtype=torch.float64, requires_grad=True)
        (expected,) = torch.autograd.grad(F.cross_entropy(scale * row[None], label[None]), scale)
        assert gradient.item() == pytest.approx(expected.item(), abs=1e-12)


def test_the_gradient_of_the_squared_gradient_is_that_of_differentiating_twice():
    logits, target = normal(6, 4).requires_grad_(), torch.tensor([0, 1, 2, 3, 0, 1])
    scale = torch.ones((), dtype=torch.float64, requires_grad=True)
    (once,) = torch.autograd.grad(F.cross_entropy(scale * logits, target), scale, create_graph=True)
    (expected,) = torch.autograd.grad(once.square(), logits)
    (got,) = torch.autograd.grad(scale_gradients(logits, target).mean().square(), logits)
    torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-12)


def test_means_are_those_of_each_environments_images_and_absent_ones_are_left_out_of_the_average():
    environments = Environments.of(torch.tensor([2, 0, 2, 2]), 4)
    values = torch.tensor([1.0, 5.0, 2.0, 6.0])
    assert environments.count.tolist() == [1, 0, 3, 0]
    assert environments.means(values).tolist() == [5.0, 0.0, 3.0, 0.0]
    assert environments.means(torch.stack([values, -values], dim=1)).tolist()[2] == [3.0, -3.0]
    assert environments.average(environments.means(values)).item() == 4.0
    assert environments.average(environments.means(values), fewest=2).item() == 3.0
    assert environments.average(environments.means(values), fewest=9).item() == 0.0


def test_halves_deal_each_environments_images_out_in_turn():
    odd, even = Environments.of(torch.tensor([0, 1, 0, 0, 1, 2]), 3).halves()
    assert odd.belongs.nonzero().tolist() == [[0, 0], [1, 1], [3, 0], [5, 2]]
    assert even.belongs.nonzero().tolist() == [[2, 0], [4, 1]]
    assert (odd.count.tolist(), even.count.tolist()) == ([2, 1, 1], [1, 1, 0])


def test_squared_distances_are_exact_far_from_the_origin():
    points = normal(5, 3).float() + 1000
    expected = torch.cdist(points.double(), points.double()).square()
    distances = squared_distances(points)
    assert (distances.diagonal() == 0).all()
    torch.testing.assert_close(distances.double(), expected, rtol=1e-4, atol=1e-5)


@each_method
def test_environments_are_drawn_equally_often_and_their_images_too(method_class, toy_of, make):
    toy = toy_of(num_images=60, num_bias=4)
    toy.bias[:] = torch.tensor([0] * 45 + [1] * 10 + [3] * 5)
    draws = [make(method_class, toy, BIAS).order(toy.split(), torch.Generator().manual_seed(s)) for s in range(200)]
    share = torch.bincount(torch.cat(draws), minlength=60) / (200 * 60)
    expected = [1 / 135] * 45 + [1 / 30] * 10 + [1 / 15] * 5
    assert share.tolist() == pytest.approx(expected, abs=0.008)  # five standard errors of the largest


@each_method
def test_each_image_is_visited_once_where_that_is_asked_for(method_class, toy, make):
    order = make(method_class, toy, BIAS, sample="image").order(toy.split(), torch.Generator().manual_seed(0))
    assert sorted(order.tolist()) == list(range(24))


@each_method
@pytest.mark.parametrize("index", [[3], [0, 3, 6], []], ids=["one image", "one class", "environments of one image"])
def test_batches_of_next_to_nothing_give_finite_losses_and_gradients(method_class, index, toy, make):
    if not index:
        index = [int((toy.bias == b).nonzero()[0]) for b in range(3)]
    method = make(method_class, toy, BIAS, norm=False)
    method.progress = ANNEALED
    loss = total(method.loss(toy.batch(torch.tensor(index))))
    gradients = torch.autograd.grad(loss, list(method.parameters()))
    assert all(torch.isfinite(each).all() for each in (loss, *gradients))


# IRM and V-REx


def risks_by_hand(method, toy, batch):
    logits = method(batch.images)
    parts = [(batch.bias == e).nonzero().squeeze(1) for e in range(toy.num_bias)]
    parts = [part for part in parts if len(part)]
    return logits, parts, [F.cross_entropy(logits[part], batch.target[part]) for part in parts]


@pytest.mark.parametrize("rescale", [False, True])
@pytest.mark.parametrize("progress", [AT_FIRST, ANNEALED], ids=["at the start", "annealed"])
def test_irm_is_its_definition_with_a_dummy_scale(progress, rescale, toy, make):
    method = make(IRM, toy, BIAS, norm=False, rescale=rescale)
    method.progress = progress
    batch = toy.batch(torch.arange(17))
    logits, parts, risks = risks_by_hand(method, toy, batch)
    scale = torch.ones((), dtype=torch.float64, requires_grad=True)
    penalties = []
    for part in parts:
        halves = [F.cross_entropy(scale * logits[each], batch.target[each]) for each in (part[::2], part[1::2])]
        first, second = (torch.autograd.grad(half, scale, retain_graph=True)[0] for half in halves)
        penalties.append(first * second)
    weight = 100 if progress is ANNEALED else 1
    expected = torch.stack(risks).mean() + weight * torch.stack(penalties).mean()
    assert total(method.loss(batch)).item() == pytest.approx(expected.item() / (weight if rescale else 1), rel=1e-9)


def test_irm_has_no_penalty_where_the_logits_are_zero(toy, make):
    method = make(IRM, toy, BIAS)
    torch.nn.init.zeros_(method.classifier.weight)
    torch.nn.init.zeros_(method.classifier.bias)
    terms = method.loss(toy.batch())
    assert terms["penalty"].item() == 0.0
    assert terms["risk"].item() == pytest.approx(np.log(3))


def test_irm_leaves_environments_of_one_image_out_of_the_penalty_alone(toy, make):
    method = make(IRM, toy, BIAS, norm=False)
    pair = (toy.bias == 0).nonzero().squeeze(1)[:2]
    single = (toy.bias == 1).nonzero().squeeze(1)[:1]
    alone, both = (method.loss(toy.batch(index)) for index in (pair, torch.cat([pair, single])))
    assert both["penalty"].item() == pytest.approx(alone["penalty"].item())
    assert both["risk"].item() != pytest.approx(alone["risk"].item())


@pytest.mark.parametrize(("progress", "weight"), [(AT_FIRST, 1), (ANNEALED, 10)])
def test_vrex_adds_the_variance_of_the_risks(progress, weight, toy, make):
    method = make(VREx, toy, BIAS, norm=False)
    method.progress = progress
    batch = toy.batch(torch.arange(17))
    risks = np.array([risk.item() for risk in risks_by_hand(method, toy, batch)[2]])
    assert total(method.loss(batch)).item() == pytest.approx(risks.mean() + weight * np.var(risks), rel=1e-9)


# MMD and CORAL


def mmd_by_hand(first, second):
    def mean_kernel(a, b):
        return sum(np.exp(-g * ((x - y) ** 2).sum()) for x in a for y in b for g in 10.0 ** np.arange(-3, 4)) / (
            len(a) * len(b)
        )

    return mean_kernel(first, first) + mean_kernel(second, second) - 2 * mean_kernel(first, second)


def coral_by_hand(first, second):
    means = first.mean(0) - second.mean(0)
    covariances = np.cov(first, rowvar=False) - np.cov(second, rowvar=False)
    return (means**2).mean() + (covariances**2).mean()


@pytest.mark.parametrize(("method_class", "by_hand"), [(MMD, mmd_by_hand), (CORAL, coral_by_hand)])
def test_discrepancies_are_means_over_pairs_of_environments(method_class, by_hand, toy, make):
    features = normal(12, 3)
    features[3:7] *= 2
    features[7:] += 1
    method = make(method_class, toy, BIAS)
    parts = [features[:3].numpy(), features[3:7].numpy(), features[7:].numpy()]
    expected = np.mean([by_hand(*pair) for pair in itertools.combinations(parts, 2)])
    got = method.discrepancy(features, environments_of(3, 4, 5, 0))
    assert got.item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("method_class", [MMD, CORAL])
def test_equal_samples_do_not_differ_and_one_environment_differs_from_none(method_class, toy, make):
    method, features = make(method_class, toy, BIAS), normal(4, 3)
    twice = torch.cat([features, features.flip(0)])
    assert method.discrepancy(twice, environments_of(4, 4)).item() == pytest.approx(0, abs=1e-12)
    assert method.discrepancy(features, environments_of(4, 0, 0)).item() == 0


def test_coral_leaves_out_an_environment_of_one_image(toy, make):
    method, features = make(CORAL, toy, BIAS), normal(9, 3)
    with_it = method.discrepancy(features, environments_of(4, 4, 1))
    without = method.discrepancy(features[:8], environments_of(4, 4))
    assert with_it.item() == pytest.approx(without.item())


def test_rotations_leave_mmd_as_it_is(toy, make):
    discrepancy, environments = make(MMD, toy, BIAS).discrepancy, environments_of(6, 4)
    for seed in range(20):
        rotation, _ = torch.linalg.qr(normal(3, 3, seed=seed))
        features = normal(10, 3, seed=seed + 100)
        expected, got = (discrepancy(each, environments).item() for each in (features, features @ rotation + 2))
        assert got == pytest.approx(expected, abs=1e-9)


def test_unbiased_mmd_is_zero_on_average_where_nothing_differs_and_the_other_is_not(toy, make):
    biased, unbiased = (make(MMD, toy, BIAS, unbiased=value).discrepancy for value in (False, True))
    batches = [(normal(12, 2, seed=seed), environments_of(4, 4, 4)) for seed in range(300)]
    means = [torch.stack([discrepancy(*batch) for batch in batches]).mean() for discrepancy in (biased, unbiased)]
    assert means[0].item() > 1
    assert abs(means[1].item()) < 0.05
    single = torch.cat([batches[0][0], normal(1, 2)])
    assert unbiased(single, environments_of(4, 4, 4, 1)).item() == pytest.approx(unbiased(*batches[0]).item())


@pytest.mark.parametrize("method_class", [MMD, CORAL])
def test_without_weight_it_is_cross_entropy_and_with_it_the_features_learn_otherwise(method_class, toy, make):
    batch = toy.batch()
    plain = F.cross_entropy((method := make(method_class, toy, BIAS, weight=0.0))(batch.images), batch.target)
    assert total(method.loss(batch)).item() == pytest.approx(plain.item())
    weighted = make(method_class, toy, BIAS)
    gradients = torch.autograd.grad(weighted.loss(batch)["discrepancy"], list(weighted.backbone.parameters()))
    assert any(gradient.abs().max() > 1e-6 for gradient in gradients)


@pytest.mark.parametrize(
    ("method_class", "values"),
    [
        *((IRM, {}), (VREx, {}), (MMD, {}), (CORAL, {}), (Fishr, {"anneal": 0.0}), (DANN, {"warm_up": False})),
        *((PGI, {"ramp_epochs": 0}), (EnD, {}), (BAdd, {}), (FLAC, {}), (DomainIndependent, {})),
    ],
)
def test_the_network_learns_otherwise_than_erms_from_the_same_batches(method_class, values, toy, make):
    trained = []
    for method in (make(method_class, toy, BIAS, norm=False, **values), make(ERM, toy, norm=False)):
        method.progress = Progress("train", epoch=0, epochs=1, step=0, steps=3)
        method.train()
        optimizer = torch.optim.SGD(method.parameter_groups(), lr=0.1)
        for index in torch.arange(24).split(12):
            loss = total(method.loss(toy.batch(index)))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        trained.append(torch.cat([parameter.flatten() for parameter in method.backbone.parameters()]).detach())
    assert (trained[0] - trained[1]).abs().max() > 1e-6
