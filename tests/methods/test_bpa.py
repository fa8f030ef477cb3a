"""bpa: the weights of its groups and the memory of its images, step by step by hand."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from ncbench import Stage, Supervision
from ncbench.contracts.task import Progress
from ncbench_methods.balancing.bpa import BPA

BIAS = Supervision(train="bias")


@pytest.fixture
def started(toy, make):
    def start(**values):
        method = make(BPA, toy, BIAS, norm=False, **values)
        method.start_stage(Stage("train", 3), toy.split(), None)
        return method

    return start


def step(method, toy, index, **at):
    method.progress = Progress("train", **at)
    return method.loss(toy.batch(index))


def losses_of(method, batch):
    return F.cross_entropy(method(batch.images), batch.target, reduction="none")


def inverse_frequency(toy):
    group = toy.target * 3 + toy.bias
    return 24 / torch.bincount(group, minlength=9)[group].double()


def test_groups_of_equal_loss_weigh_by_inverse_frequency(toy, started):
    method = started(momentum=1.0)
    everything = torch.arange(24)
    weight = inverse_frequency(toy) / inverse_frequency(toy).mean()
    expected = (weight * losses_of(method, toy.batch())).mean()
    torch.testing.assert_close(step(method, toy, everything), expected, rtol=1e-6, atol=1e-7)
    method.latest.fill_(0.7)
    torch.testing.assert_close(step(method, toy, everything, epoch=1), expected, rtol=1e-6, atol=1e-7)
    assert abs(expected - losses_of(method, toy.batch()).mean()) > 1e-4  # which is not erm


def test_the_weights_follow_the_groups_losses_of_the_epoch_before_and_are_remembered(toy, started):
    method, half = started(), [torch.arange(0, 24, 2), torch.arange(1, 24, 2)]
    rarity, group = inverse_frequency(toy), toy.target * 3 + toy.bias
    memory, latest = torch.ones(24).double(), torch.zeros(24).double()
    mean_loss = torch.ones(9).double()
    for epoch in range(3):
        if epoch:  # all have a loss by now
            mean_loss = torch.stack([latest[group == g].mean() if (group == g).any() else latest[0] for g in range(9)])
        for place, index in enumerate(half):
            losses = losses_of(method, toy.batch(index)).detach()
            new = rarity[index] * mean_loss[group[index]]
            weight = 0.7 * memory[index] + 0.3 * new / new.mean()
            memory[index] = weight / weight.mean()
            latest[index] = losses
            found = step(method, toy, index, epoch=epoch, step=place, steps=2)
            torch.testing.assert_close(found, (memory[index] * losses).mean(), rtol=1e-6, atol=1e-7)
        with torch.no_grad():  # so that losses differ from epoch to epoch
            method.classifier.weight.mul_(1.5)


def test_until_every_image_has_a_loss_groups_count_by_their_size_alone(toy, started):
    method = started()
    step(method, toy, torch.arange(12))
    step(method, toy, torch.arange(12), epoch=1)
    assert (method.group_loss == 1).all()


def test_losses_of_0_are_no_division_by_0(toy, started):
    method = started(momentum=1.0)
    method.latest.zero_()
    assert torch.isfinite(step(method, toy, torch.arange(24), epoch=1))
