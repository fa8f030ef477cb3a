"""domain_independent: a head for each attribute value, and one linear classifier at test time."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from ncbench import Supervision
from ncbench_methods.erm import ERM
from ncbench_methods.invariance.domain_independent import DomainIndependent

BIAS = Supervision(train="bias")


def test_an_image_trains_the_head_of_its_own_attribute_alone(toy, make):
    method = make(DomainIndependent, toy, BIAS)
    batch = toy.batch(torch.arange(9))
    features = method.features(batch.images)
    expected = [
        F.cross_entropy(method.heads[b](h[None]), y[None])
        for h, y, b in zip(features, batch.target, batch.bias.tolist(), strict=True)
    ]
    torch.testing.assert_close(method.loss(batch), torch.stack(expected).mean())
    of_value = toy.batch((toy.bias == 1).nonzero().squeeze(1))
    weights = [head.weight for head in method.heads]
    gradients = torch.autograd.grad(method.loss(of_value), weights)
    assert [bool(gradient.any()) for gradient in gradients] == [False, True, False]


def test_logits_are_the_mean_of_the_heads(toy, make):
    method = make(DomainIndependent, toy, BIAS).eval()
    features = method.features(toy.images)
    expected = torch.stack([head(features) for head in method.heads]).mean(dim=0)
    torch.testing.assert_close(method(toy.images), expected)


def test_a_value_without_training_images_has_no_say(toy_of, make):
    toy = toy_of(num_bias=3)
    toy.bias[toy.bias == 1] = 0
    method = make(DomainIndependent, toy, BIAS).eval()
    before = method(toy.images)
    torch.nn.init.constant_(method.heads[1].weight, 1e6)
    assert torch.equal(method(toy.images), before)


def test_with_one_value_it_is_erm(toy_of, make):
    toy = toy_of(num_bias=1)
    ours, erm = make(DomainIndependent, toy, BIAS), make(ERM, toy)
    torch.testing.assert_close(ours.loss(toy.batch()), erm.loss(toy.batch(bias=False)))
    torch.testing.assert_close(ours.eval()(toy.images), erm.eval()(toy.images))
