"""The prior given a bias attribute, and bias_balance, against the methods it becomes."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from ncbench import Supervision
from ncbench_methods.conditional_prior import log_conditional, prior_adjusted_cross_entropy
from ncbench_methods.imbalance.balanced_softmax import BalancedSoftmax
from ncbench_methods.imbalance.bias_balance import BiasBalance
from ncbench_methods.imbalance.logit_adjustment import LogitAdjustment

BIAS = Supervision(train="bias")


def loss_and_gradient(method, toy):
    loss = method.loss(toy.batch())
    method.zero_grad()
    loss.backward()
    return loss, method.classifier.weight.grad


def test_it_is_the_share_of_each_class_given_the_attribute_and_no_cell_is_empty():
    table = torch.tensor([[30, 0], [10, 5]])  # lopsided, so that a transpose shows
    expected = torch.tensor([[0.75, 0.25], [1 / 6, 5 / 6]]).double()  # of (B, K)
    torch.testing.assert_close(log_conditional(table).exp(), expected)


@pytest.mark.parametrize("other", [LogitAdjustment, BalancedSoftmax])
def test_one_attribute_value_is_logit_adjustment_and_balanced_softmax(toy_of, make, other):
    toy = toy_of(num_bias=1)
    toy.target[:] = torch.tensor([0] * 14 + [1] * 10)  # and none of class 2
    ours, theirs = make(BiasBalance, toy, BIAS), make(other, toy)
    for one, two in zip(loss_and_gradient(ours, toy), loss_and_gradient(theirs, toy), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-5, atol=1e-6)  # their offsets are float32


def test_equal_classes_independent_of_the_attribute_are_erm(toy_of, make):
    toy = toy_of(num_images=24, num_classes=3, num_bias=2)
    toy.bias[:] = (torch.arange(24) // 3 % 4 == 0).long()
    method = make(BiasBalance, toy, BIAS)
    torch.testing.assert_close(
        method.eval().loss(toy.batch()), F.cross_entropy(method(toy.images), toy.target), rtol=1e-6, atol=1e-6
    )


def test_a_biased_attribute_is_not_erm(toy, make):
    method = make(BiasBalance, toy, BIAS).eval()
    plain = F.cross_entropy(method(toy.images), toy.target)
    assert abs(method.loss(toy.batch()) - plain) > 1e-3
    torch.testing.assert_close(make(BiasBalance, toy, BIAS, eta=0).eval().loss(toy.batch()), plain)


def test_a_constant_added_to_the_prior_changes_nothing():
    generator = torch.Generator().manual_seed(0)
    logits, log_prior, constant = (torch.randn(8, n, generator=generator).double() for n in (5, 5, 1))
    target = torch.arange(8) % 5
    first = prior_adjusted_cross_entropy(logits, log_prior, target, 0.7)
    torch.testing.assert_close(first, prior_adjusted_cross_entropy(logits, log_prior + constant, target, 0.7))
