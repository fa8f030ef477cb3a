"""spectral_decoupling: its penalty against the formula, and against the form that others give it."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from ncbench import ConfigurationError
from ncbench_methods.balancing.spectral_decoupling import SpectralDecoupling


def test_the_loss_is_its_formula(toy, make):
    method = make(SpectralDecoupling, toy, penalty=0.3).eval()
    logits = method(toy.images)
    expected = sum(F.cross_entropy(row, y) + 0.15 * row.dot(row) for row, y in zip(logits, toy.target, strict=True))
    torch.testing.assert_close(sum(method.loss(toy.batch()).values()), expected / 24)


def test_without_a_penalty_it_is_erm(toy, make):
    method = make(SpectralDecoupling, toy, penalty=0).eval()
    torch.testing.assert_close(sum(method.loss(toy.batch()).values()), F.cross_entropy(method(toy.images), toy.target))


def test_a_mean_over_images_and_classes_is_another_lambda(toy, make):
    method = make(SpectralDecoupling, toy, penalty=0.2 / 3).eval()
    torch.testing.assert_close(method.loss(toy.batch())["penalty"], 0.1 * method(toy.images).square().mean())


def test_the_penalty_keeps_the_logits_small(toy, make):
    norms = []
    for penalty in (0.0, 1.0):
        method = make(SpectralDecoupling, toy, penalty=penalty)
        optimizer = torch.optim.SGD(method.parameters(), lr=0.1)
        for _ in range(100):
            optimizer.zero_grad()
            sum(method.loss(toy.batch()).values()).backward()
            optimizer.step()
        norms.append(method(toy.images).norm().item())
    assert norms[1] < norms[0] / 2


def test_a_negative_penalty_is_refused(toy, make):
    with pytest.raises(ConfigurationError, match="penalty"):
        make(SpectralDecoupling, toy, penalty=-1)
