"""learned_mixin: as much of the attribute's prior as an image asks for."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from ncbench import Supervision
from ncbench_methods.erm import ERM
from ncbench_methods.imbalance.bias_balance import BiasBalance
from ncbench_methods.imbalance.learned_mixin import LearnedMixin

BIAS = Supervision(train="bias")


def with_share(method, share):
    """The same method, adding the same share of the prior to every image."""
    torch.nn.init.zeros_(method.mixing.weight)
    torch.nn.init.constant_(method.mixing.bias, math.log(math.expm1(share)))
    return method


def test_it_is_its_formula_with_a_share_for_each_image(toy, make):
    method = make(LearnedMixin, toy, BIAS, penalty=0.2)
    batch = toy.batch(torch.arange(11))
    counts = torch.zeros(3, 3, dtype=torch.float64)
    for y, b in zip(toy.target.tolist(), toy.bias.tolist(), strict=True):
        counts[y, b] += 1
    prior = (counts.clamp_min(1) / counts.clamp_min(1).sum(dim=0)).T  # (B, K)
    features = method.features(batch.images)
    losses, entropies = [], []
    for h, y, b in zip(features, batch.target, batch.bias, strict=True):
        share = F.softplus(method.mixing(h)).squeeze()
        log_p = method.classifier(h).log_softmax(dim=0) + share * prior[b].log()
        losses.append(-(log_p - log_p.logsumexp(dim=0))[y])
        entropies.append(torch.distributions.Categorical(prior[b] ** share).entropy())
    terms = method.loss(batch)
    assert terms["mixture"].item() == pytest.approx(torch.stack(losses).mean().item(), rel=1e-6)
    assert terms["entropy"].item() == pytest.approx(0.2 * torch.stack(entropies).mean().item(), rel=1e-6)


def test_with_a_share_of_one_it_is_bias_balance(toy, make):
    ours = with_share(make(LearnedMixin, toy, BIAS), 1.0)
    theirs = make(BiasBalance, toy, BIAS)
    assert ours.loss(toy.batch())["mixture"].item() == pytest.approx(theirs.loss(toy.batch()).item())


def test_with_a_share_of_nothing_it_is_erm_and_the_entropy_is_largest(toy, make):
    ours, erm = with_share(make(LearnedMixin, toy, BIAS, penalty=1.0), 1e-12), make(ERM, toy)
    terms = ours.loss(toy.batch())
    assert terms["mixture"].item() == pytest.approx(erm.loss(toy.batch(bias=False)).item())
    assert terms["entropy"].item() == pytest.approx(math.log(3))


def test_the_features_learn_how_much_to_add_and_predictions_add_nothing(toy, make):
    method = make(LearnedMixin, toy, BIAS)
    gradient = torch.autograd.grad(method.loss(toy.batch())["entropy"], list(method.backbone.parameters()))
    assert any(each.any() for each in gradient)
    before = method.eval()(toy.images)
    torch.nn.init.constant_(method.mixing.bias, 100.0)
    assert torch.equal(method(toy.images), before)
