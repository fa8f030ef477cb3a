"""The baseline: cross-entropy of a linear classifier, with a bias or without."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from ncbench.training.configuration import resolve
from ncbench_methods.erm import ERM


@pytest.mark.parametrize("classifier_bias", [True, False])
def test_the_loss_is_the_mean_cross_entropy_of_the_linear_classifier(toy, make, classifier_bias):
    method = make(ERM, toy, classifier_bias=classifier_bias)
    batch = toy.batch(bias=False)
    weight, bias = method.classifier_parameters()
    assert (bias is not None) == classifier_bias
    logits = method.backbone(batch.images) @ weight.T + (bias if classifier_bias else 0)
    torch.testing.assert_close(method.loss(batch), F.cross_entropy(logits, batch.target))


@pytest.mark.parametrize(
    ("method", "dataset", "spec"),
    [
        ("erm", "colored_digits", "erm"),
        ("erm", "ufm", "erm:classifier_bias=false"),
        ("erm:classifier_bias=true", "ufm", "erm:classifier_bias=true"),
    ],
)
def test_the_unconstrained_features_model_has_no_bias_unless_asked_for(method, dataset, spec):
    assert resolve(method, dataset, None, 0, {}, False).method.spec == spec
