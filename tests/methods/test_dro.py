"""cvar_dro and chi2_dro, against linear programs, closed forms and their limits."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linprog, minimize_scalar

from ncbench_methods.balancing.dro import Chi2DRO, CVaRDRO, worst_weights

LOSSES = st.lists(st.floats(0, 20), min_size=1, max_size=12).map(lambda values: torch.tensor(values).double())


def losses_of(method, batch):
    return F.cross_entropy(method(batch.images), batch.target, reduction="none")


@pytest.mark.parametrize("alpha", [0.03, 0.1, 0.37, 0.5, 0.99, 1.0])
def test_cvar_is_the_optimum_of_its_linear_program(toy, make, alpha):
    method = make(CVaRDRO, toy, alpha=alpha, norm=False)
    losses = losses_of(method, toy.batch()).detach().numpy()
    bound = max(1 / (alpha * len(losses)), 1 / len(losses))
    best = linprog(-losses, A_eq=np.ones((1, len(losses))), b_eq=[1], bounds=(0, bound if bound < 1 else 1))
    assert method.loss(toy.batch()).item() == pytest.approx(-best.fun, rel=1e-9)


def test_cvar_of_everything_is_erm_and_of_one_image_the_largest_loss(toy, make):
    whole = make(CVaRDRO, toy, alpha=1, norm=False)
    torch.testing.assert_close(whole.loss(toy.batch()), losses_of(whole, toy.batch()).mean())
    one = make(CVaRDRO, toy, alpha=1 / 24, norm=False)
    torch.testing.assert_close(one.loss(toy.batch()), losses_of(one, toy.batch()).max())
    few = toy.batch(torch.tensor([5]))
    torch.testing.assert_close(make(CVaRDRO, toy, norm=False).loss(few), losses_of(whole, few)[0])


@given(LOSSES, st.floats(0.01, 30))
def test_the_worst_weights_are_the_duals_and_lie_in_the_ball(losses, rho):
    weight = worst_weights(losses, rho)
    assert (weight >= 0).all()
    assert weight.sum().item() == pytest.approx(1)
    assert 0.5 * (len(losses) * weight - 1).square().mean().item() <= rho * (1 + 1e-6) + 1e-9

    def dual(eta: float) -> float:
        return math.sqrt(1 + 2 * rho) * (losses - eta).clamp_min(0).square().mean().sqrt().item() + eta

    spread = losses.std(correction=0).item()
    low = losses.mean().item() - spread / math.sqrt(2 * rho) - 1
    best = minimize_scalar(dual, bounds=(low, losses.max().item() + 1), options={"xatol": 1e-12})
    assert (weight * losses).sum().item() == pytest.approx(best.fun, rel=1e-5, abs=1e-5)


def test_a_small_ball_adds_the_standard_deviation(toy):
    losses = torch.rand(64, generator=torch.Generator().manual_seed(0)).double()
    for rho in (1e-4, 1e-3, 1e-2):
        expected = losses.mean() + math.sqrt(2 * rho) * losses.std(correction=0)
        assert (worst_weights(losses, rho) * losses).sum().item() == pytest.approx(expected.item(), abs=1e-14)


def test_a_large_ball_takes_the_largest_loss():
    losses = torch.tensor([1.0, 4.0, 2.0, 4.0]).double()
    assert (worst_weights(losses, 1.5) * losses).sum().item() == pytest.approx(4)
    assert worst_weights(torch.tensor([1.0, 3.0, 2.0]).double(), 1.0).tolist() == pytest.approx([0, 1, 0], abs=1e-7)


@pytest.mark.parametrize("losses", [[0.0, 0.0, 0.0], [2.3], [1e-30, 1e-30], [7.0] * 5, [0.0, 30.0]])
@pytest.mark.parametrize("rho", [1e-3, 1.0, 100.0])
def test_equal_losses_weigh_the_same_and_nothing_is_nan(losses, rho):
    weight = worst_weights(torch.tensor(losses), rho)
    assert torch.isfinite(weight).all()
    if len(set(losses)) == 1:
        assert weight.tolist() == pytest.approx([1 / len(losses)] * len(losses))


def test_the_gradient_is_that_of_the_losses_under_the_worst_weights(toy, make):
    method = make(Chi2DRO, toy, norm=False)
    method.loss(toy.batch()).backward()
    found = method.classifier.weight.grad.clone()
    method.zero_grad()
    losses = losses_of(method, toy.batch())
    rho = method.params.rho
    eta = minimize_scalar(
        lambda at: math.sqrt(1 + 2 * rho) * (losses - at).clamp_min(0).square().mean().sqrt().item() + at,
        bounds=(-5, losses.max().item()),
        options={"xatol": 1e-12},
    ).x
    dual = math.sqrt(1 + 2 * rho) * (losses - eta).clamp_min(0).square().mean().sqrt() + eta
    dual.backward()
    torch.testing.assert_close(found, method.classifier.weight.grad, rtol=1e-5, atol=1e-7)
