"""The loss against its formula, and that the penalty does what it is for."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from ncbench import Backbone, Batch, ConfigurationError, Parameters, Supervision, Task
from torch import nn

from ncbench_spectral_decoupling import ncbench_methods
from ncbench_spectral_decoupling.method import SpectralDecoupling


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
    params = SpectralDecoupling.Parameters.build(values, owner="spectral_decoupling")
    return SpectralDecoupling(task, params, lambda: Flat((3, 2, 2), Parameters()))


def test_the_loss_is_its_formula(batch):
    method = build(penalty=0.3)
    terms = method.loss(batch)
    logits = F.linear(batch.images.flatten(1), method.classifier.weight, method.classifier.bias)
    pairs = zip(logits, batch.target, strict=True)
    expected = sum(F.cross_entropy(row, y) + 0.15 * row.dot(row) for row, y in pairs) / 9
    torch.testing.assert_close(sum(terms.values()), expected)


def test_the_penalty_keeps_the_logits_small(batch):
    norms = []
    for penalty in (0.0, 1.0):
        method = build(penalty=penalty)
        optimizer = torch.optim.SGD(method.parameters(), lr=0.1)
        for _ in range(200):
            optimizer.zero_grad()
            sum(method.loss(batch).values()).backward()
            optimizer.step()
        norms.append(method(batch.images).norm().item())
    assert norms[1] < norms[0] / 2


def test_a_negative_penalty_is_refused():
    with pytest.raises(ConfigurationError, match="penalty"):
        build(penalty=-1)


def test_the_card_leads_to_the_method():
    (card,) = ncbench_methods()
    assert card.load() is SpectralDecoupling
