"""LfF against its bookkeeping done by hand, image by image and in plain Python."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F

from ncbench_methods.generalized_cross_entropy import generalized_cross_entropy
from ncbench_methods.two_networks.lff import LfF

from .conftest import total


def test_generalized_cross_entropy_is_its_definition_and_tends_to_cross_entropy():
    logits = torch.randn(6, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    target = torch.tensor([0, 1, 2, 3, 0, 1])
    p = logits.softmax(1)[torch.arange(6), target]
    torch.testing.assert_close(generalized_cross_entropy(logits, target, 0.7), (1 - p**0.7) / 0.7)
    torch.testing.assert_close(generalized_cross_entropy(logits, target, 1.0), 1 - p)
    cross_entropy = F.cross_entropy(logits, target, reduction="none")
    torch.testing.assert_close(generalized_cross_entropy(logits, target, 1e-9), cross_entropy, rtol=1e-6, atol=1e-6)


def test_generalized_cross_entropy_gradient_is_cross_entropys_times_p_to_the_q():
    logits = torch.randn(5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1), requires_grad=True)
    target = torch.tensor([0, 3, 2, 1, 0])
    p = logits.softmax(1)[torch.arange(5), target].detach()
    (expected,) = torch.autograd.grad((p**0.7 * F.cross_entropy(logits, target, reduction="none")).sum(), logits)
    (got,) = torch.autograd.grad(generalized_cross_entropy(logits, target, 0.7).sum(), logits)
    torch.testing.assert_close(got, expected)


def test_generalized_cross_entropy_stays_finite_where_the_probability_vanishes():
    logits = torch.tensor([[0.0, 500.0]], requires_grad=True)  # p_y = exp(-500) is 0 in float32
    loss = generalized_cross_entropy(logits, torch.tensor([0]), 0.7).sum()
    loss.backward()
    assert loss.item() == pytest.approx(1 / 0.7)
    assert torch.isfinite(logits.grad).all()


def test_averages_weights_and_losses_over_several_steps_match_a_hand_computation(toy, make):
    method = make(LfF, toy, norm=False)
    q, alpha = 0.7, 0.7
    average = {"b": {}, "d": {}}  # image -> average, filled at its first visit
    optimizer = torch.optim.SGD(method.parameters(), lr=0.5)
    generator = torch.Generator().manual_seed(3)
    for _ in range(3):
        for index in torch.randperm(24, generator=generator)[:20].split(8):  # some images stay unvisited for a while
            batch = toy.batch(index, bias=False)
            with torch.no_grad():
                losses = {
                    "b": F.cross_entropy(method.biased(batch.images), batch.target, reduction="none").tolist(),
                    "d": F.cross_entropy(method(batch.images), batch.target, reduction="none").tolist(),
                }
                p = method.biased(batch.images).softmax(1)[torch.arange(len(index)), batch.target].tolist()
            for net, values in losses.items():
                for image, value in zip(index.tolist(), values, strict=True):
                    old = average[net].get(image)
                    average[net][image] = value if old is None else alpha * old + (1 - alpha) * value
            expected = 0.0
            for position, image in enumerate(index.tolist()):
                relative = {}
                for net in ("b", "d"):
                    of_class = [v for i, v in average[net].items() if toy.target[i] == toy.target[image]]
                    relative[net] = average[net][image] / max(of_class)
                weight = relative["b"] / (relative["b"] + relative["d"] + 1e-8)
                expected += (weight * losses["d"][position] + (1 - p[position] ** q) / q) / len(index)
            loss = total(method.loss(batch))
            assert loss.item() == pytest.approx(expected, rel=1e-6)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


def test_weights_are_constants_for_the_gradient(toy, make):
    method = make(LfF, toy, norm=False)
    batch = toy.batch(bias=False)
    terms = method.loss(batch)
    # The first visit's averages are the losses themselves, so the weights can be computed from them.
    loss_b = F.cross_entropy(method.biased(batch.images), batch.target, reduction="none").detach()
    loss_d = F.cross_entropy(method(batch.images), batch.target, reduction="none")
    largest = [
        torch.stack([values.detach()[batch.target == k].max() for k in range(3)])[batch.target]
        for values in (loss_b, loss_d)
    ]
    relative_b, relative_d = loss_b / largest[0], loss_d.detach() / largest[1]
    weight = relative_b / (relative_b + relative_d + 1e-8)
    own = [*method.backbone.parameters(), *method.classifier.parameters()]
    expected = torch.autograd.grad((weight * loss_d).mean(), own)
    got = torch.autograd.grad(terms["debiased"], own)
    for ours, theirs in zip(got, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-9)


def test_each_network_has_only_its_own_loss(toy, make):
    method = make(LfF, toy)
    terms = method.loss(toy.batch(bias=False))
    debiased = [*method.backbone.parameters(), *method.classifier.parameters()]
    grads = torch.autograd.grad(terms["biased"], debiased, allow_unused=True, retain_graph=True)
    assert all(gradient is None for gradient in grads)
    grads = torch.autograd.grad(terms["debiased"], list(method.biased.parameters()), allow_unused=True)
    assert all(gradient is None for gradient in grads)


def test_the_two_networks_start_differently_and_forward_is_the_debiased_one(toy, make):
    method = make(LfF, toy).eval()
    own = method(toy.images)
    assert not torch.allclose(own, method.biased(toy.images))
    with torch.no_grad():
        for parameter in method.biased.parameters():
            parameter.zero_()
    assert torch.equal(method(toy.images), own)


def test_per_image_state_travels_with_the_state_dict(toy, make):
    method = make(LfF, toy)
    method.loss(toy.batch(torch.arange(10), bias=False))
    twin = make(LfF, toy)
    twin.load_state_dict(copy.deepcopy(method.state_dict()))
    batch = toy.batch(torch.arange(5, 15), bias=False)
    assert total(method.loss(batch)).item() == total(twin.loss(batch)).item()
    assert torch.equal(method.average_biased, twin.average_biased)
    assert method.visited.tolist() == [True] * 15 + [False] * 9


def test_a_class_whose_losses_have_vanished_gives_no_nan(toy, make):
    method = make(LfF, toy, norm=False)
    with torch.no_grad():
        for parameter in [*method.classifier.parameters(), *method.biased[1].parameters()]:
            parameter.zero_()
        method.classifier.bias[0] = method.biased[1].bias[0] = 2000.0  # exactly zero loss on class 0
    zeros = (toy.target == 0).nonzero().squeeze(1)
    assert total(method.loss(toy.batch(zeros, bias=False))).item() == 0.0


def test_a_batch_of_one_image(toy, make):
    method = make(LfF, toy, norm=False)
    terms = method.loss(toy.batch(torch.tensor([4]), bias=False))
    # Alone in its class, both normalised averages are 1 and the weight is a half.
    expected = F.cross_entropy(method(toy.images[4:5]), toy.target[4:5]) / (2 + 1e-8)
    assert terms["debiased"].item() == pytest.approx(expected.item(), rel=1e-6)
