"""dann: its reversed gradient against one player at a time."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from ncbench import Progress, Supervision
from ncbench_methods.erm import ERM
from ncbench_methods.invariance.dann import DANN

from .conftest import total

BIAS = Supervision(train="bias")


@pytest.mark.parametrize("conditional", [False, True])
def test_the_discriminator_descends_its_loss_and_the_backbone_ascends_it(conditional, toy, make):
    method = make(DANN, toy, BIAS, norm=False, conditional=conditional, warm_up=False, weight=3.0)
    batch = toy.batch(torch.arange(17))
    features = method.features(batch.images)
    seen = features + method.class_embedding(batch.target) if conditional else features
    losses = F.cross_entropy(method.discriminator(seen), batch.bias, reduction="none")
    if conditional:  # every class counts the same
        of_discriminator = torch.stack([losses[batch.target == y].mean() for y in range(3)]).mean()
    else:
        of_discriminator = losses.mean()
    of_network = F.cross_entropy(method.classifier(features), batch.target) - 3 * of_discriminator
    network, adversary = (group["params"] for group in method.parameter_groups())
    expected = [
        *torch.autograd.grad(of_network, network, retain_graph=True),
        *torch.autograd.grad(of_discriminator, adversary),
    ]
    terms = method.loss(batch)
    got = torch.autograd.grad(total(terms), [*network, *adversary])
    assert terms["adversary"].item() == pytest.approx(of_discriminator.item())
    for ours, theirs in zip(got, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)


def test_without_weight_the_network_is_erms(toy, make):
    ours, erm = make(DANN, toy, BIAS, weight=0.0), make(ERM, toy)
    network = ours.parameter_groups()[0]["params"]
    got = torch.autograd.grad(total(ours.loss(toy.batch())), network)
    expected = torch.autograd.grad(erm.loss(toy.batch()), list(erm.parameters()))
    for mine, theirs in zip(got, expected, strict=True):
        torch.testing.assert_close(mine, theirs)


def test_the_weight_grows_from_nothing_to_its_value_over_the_training(toy, make):
    method = make(DANN, toy, BIAS, weight=2.0)
    weights = []
    for progress in (
        Progress(),
        Progress("train", 0, 10, 0, 4),
        Progress("train", 2, 10, 2, 4),
        Progress("train", 10, 10),
    ):
        method.progress = progress
        weights.append(method.adversary_weight())
    expected = [2 * (2 / (1 + math.exp(-10 * p)) - 1) for p in (0, 0, 0.25, 1)]
    assert weights == pytest.approx(expected)
    assert make(DANN, toy, BIAS, weight=2.0, warm_up=False).adversary_weight() == 2.0


def test_the_discriminator_has_no_weight_decay_and_every_parameter_a_group(toy, make):
    method = make(DANN, toy, BIAS, conditional=True)
    groups = method.parameter_groups()
    assert [group.get("weight_decay") for group in groups] == [None, 0.0]
    assert sum(len(group["params"]) for group in groups) == len(list(method.parameters()))
