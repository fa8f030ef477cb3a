"""The loss against its formula, and that the penalty does what it is for."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from ncbench import Backbone, Batch, ConfigurationError, Parameters, Supervision, Task
from torch import nn

from ncbench_confidence_penalty import ncbench_methods
from ncbench_confidence_penalty.method import ConfidencePenalty


class Flat(Backbone):
    """The pixels are the features."""

    feature_dim = 12

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return nn.Flatten()(images)


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    return Batch(torch.randn(9, 3, 2, 2, generator=generator), torch.arange(9) % 3, torch.arange(9))


def build(**values):
    task = Task.of(
        {"train": (torch.arange(9) % 3, None)},
        class_names=["a", "b", "c"],
        bias_names=[],
        input_shape=(3, 2, 2),
        hierarchy=None,
        seed=0,
        supervision=Supervision(),
    )
    torch.manual_seed(0)
    params = ConfidencePenalty.Parameters.build(values, owner="confidence_penalty")
    return ConfidencePenalty(task, params, lambda: Flat((3, 2, 2), Parameters()))


def test_the_loss_is_its_formula(batch):
    method = build(beta=0.3)
    terms = method.loss(batch)
    p = F.softmax(F.linear(batch.images.flatten(1), method.classifier.weight, method.classifier.bias), dim=1)
    expected = sum(-row[y].log() + 0.3 * (row * row.log()).sum() for row, y in zip(p, batch.target, strict=True)) / 9
    torch.testing.assert_close(sum(terms.values()), expected)


def test_without_it_the_loss_is_the_cross_entropy(batch):
    method = build(beta=0)
    torch.testing.assert_close(sum(method.loss(batch).values()), F.cross_entropy(method(batch.images), batch.target))


def test_the_penalty_keeps_the_predictions_uncertain(batch):
    largest = []
    for beta in (0.0, 1.0):
        method = build(beta=beta)
        optimizer = torch.optim.SGD(method.parameters(), lr=0.1)
        for _ in range(200):
            optimizer.zero_grad()
            sum(method.loss(batch).values()).backward()
            optimizer.step()
        largest.append(F.softmax(method(batch.images), dim=1).max(dim=1).values.mean().item())
    assert largest[1] < largest[0] - 0.1


def test_a_negative_strength_is_refused():
    with pytest.raises(ConfigurationError, match="beta"):
        build(beta=-1)


def test_the_card_leads_to_the_method():
    (card,) = ncbench_methods()
    assert card.load() is ConfidencePenalty
