"""fishr against gradients taken image by image."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from ncbench import Progress, Supervision
from ncbench_methods.invariance.environments import Environments
from ncbench_methods.invariance.fishr import Fishr, gradient_variances

BIAS = Supervision(train="bias")
ANNEALED = Progress("train", epoch=3, epochs=10, step=0, steps=2)  # three tenths are done


def variances_by_hand(method, batch, environment):
    """The variance of each weight's gradient over an environment's images: (K, d + 1)."""
    gradients = []
    for i in (batch.bias == environment).nonzero().squeeze(1).tolist():
        loss = F.cross_entropy(method(batch.images[i : i + 1]), batch.target[i : i + 1])
        weight, bias = torch.autograd.grad(loss, [method.classifier.weight, method.classifier.bias], create_graph=True)
        gradients.append(torch.cat([weight, bias[:, None]], dim=1))
    return torch.stack(gradients).var(dim=0, correction=0)


def test_variances_are_those_of_gradients_taken_image_by_image(toy, make):
    method = make(Fishr, toy, BIAS, norm=False)
    batch = toy.batch(torch.arange(17))
    features = method.features(batch.images)
    environments = Environments.of(batch.bias, 3)
    got = gradient_variances(features, method.classify(features), batch.target, environments)
    torch.testing.assert_close(got, torch.stack([variances_by_hand(method, batch, e) for e in range(3)]))


def test_losses_and_their_gradients_over_several_steps_match_averages_kept_by_hand(toy, make):
    method = make(Fishr, toy, BIAS, norm=False, weight=3.0, ema=0.6)
    method.progress = ANNEALED
    averages = [torch.zeros(3, 8, dtype=torch.float64)] * 3
    optimizer = torch.optim.SGD(method.parameters(), lr=0.1)
    for index in (torch.arange(12), torch.arange(6, 24), torch.arange(20)):
        batch = toy.batch(index)
        now = [0.6 * averages[e] + 0.4 * variances_by_hand(method, batch, e) for e in range(3)]
        averages = [each.detach() for each in now]
        corrected = torch.stack(now) / 0.4
        penalty = (corrected - corrected.mean(dim=0)).square().mean()
        expected = F.cross_entropy(method(batch.images), batch.target) + 3 * penalty
        terms = method.loss(batch)
        loss = terms["cross_entropy"] + terms["penalty"]
        assert loss.item() == pytest.approx(expected.item(), rel=1e-9)
        parameters = list(method.parameters())
        wanted = torch.autograd.grad(expected, parameters)
        got = torch.autograd.grad(loss, parameters, retain_graph=True)
        for ours, theirs in zip(got, wanted, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-12)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    torch.testing.assert_close(method.variances, torch.stack(averages))


def test_at_first_it_is_cross_entropy_while_the_averages_fill(toy, make):
    method = make(Fishr, toy, BIAS, norm=False)
    terms = method.loss(toy.batch())
    assert terms["penalty"].item() == 0
    assert terms["cross_entropy"].item() == pytest.approx(F.cross_entropy(method(toy.images), toy.target).item())
    assert (method.variances > 0).any()
    method.progress = ANNEALED
    assert method.loss(toy.batch())["penalty"].item() > 0


def test_environments_with_the_same_images_do_not_differ(toy, make):
    method = make(Fishr, toy, BIAS, norm=False)
    method.progress = ANNEALED
    batch = toy.batch(torch.arange(8).repeat(2))
    batch._bias[:] = torch.tensor([0] * 8 + [2] * 8)
    assert method.loss(batch)["penalty"].item() == pytest.approx(0, abs=1e-15)


def test_an_environment_of_one_image_keeps_its_average_and_has_no_part(toy, make):
    method, other = (make(Fishr, toy, BIAS, norm=False, ema=0.5) for _ in range(2))
    method.progress = other.progress = ANNEALED
    parts = [(toy.bias == e).nonzero().squeeze(1) for e in range(3)]
    with_it, without = torch.cat([parts[0], parts[1], parts[2][:1]]), torch.cat(parts[:2])
    penalties = [each.loss(toy.batch(index))["penalty"] for each, index in ((method, with_it), (other, without))]
    assert penalties[0].item() == pytest.approx(penalties[1].item())
    assert [bool(average.any()) for average in method.variances] == [True, True, False]
