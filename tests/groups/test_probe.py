"""The probe: a network that stays as it is, and a linear classifier of what it sees."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

import ncbench
from ncbench.conformance.kit import checks
from ncbench.conformance.problem import images_of, make_problem
from ncbench.conformance.training import build, run
from ncbench.training.configuration import resolve
from ncbench_groups.probe import Probe


def made(spec: str = "probe") -> Probe:
    method = build(checks(spec, "groups")[0].subject, make_problem())
    assert isinstance(method, Probe)
    return method


def test_only_the_classifier_is_trained() -> None:
    before, subject = made(), checks("probe", "groups")[0].subject
    fitted = run(subject, make_problem())
    after = fitted.method
    for name, tensor in before.state_dict().items():
        assert torch.equal(tensor, after.state_dict()[name]) is name.startswith("backbone.")
    with torch.no_grad():
        predicted = after(images_of(make_problem())).argmax(1)
    assert fitted.groups is not None
    assert torch.equal(fitted.groups.train, predicted)


def test_batch_normalisation_of_the_network_stands_still() -> None:
    method = made()
    method.backbone.layers.append(nn.BatchNorm1d(method.backbone.feature_dim))
    method.train()
    assert method.classifier.training
    assert not any(module.training for module in method.backbone.modules())
    method(images_of(make_problem()))
    norm = method.backbone.layers[-1]
    assert isinstance(norm, nn.BatchNorm1d)
    assert not bool(norm.running_mean.any())  # type: ignore[union-attr]


def test_the_network_is_the_one_that_is_named(tmp_path: Path) -> None:
    result = ncbench.run(
        "bias_balance",
        groups="probe:epochs=2,network='mlp:depth=1,hidden=7'",
        output=tmp_path,
        set={"recipe.epochs": 1},
        warn=lambda line: None,
    )
    assert result.record.base is not None
    widths = [
        ncbench.load_model(tmp_path / run_id, warn=lambda line: None).method.backbone.feature_dim
        for run_id in (result.record.base.run_id, result.record.run_id)
    ]
    assert widths == [7, 100]


def test_weights_for_images_of_another_scaling_are_refused() -> None:
    """A network beside the run's takes images as the run's recipe scales them."""
    groups = 'probe:network="efficientnet_lite0:weights=imagenet"'
    standard = {f"{whose}recipe.input_scaling": "standard" for whose in ("", "base.")}
    run = resolve("reweight", "colored_digits", "mlp", 0, standard, False, groups=groups)
    assert run.base is not None
    for configuration, setting in ((run, "recipe"), (run.base, "base.recipe")):
        with pytest.raises(ncbench.ConfigurationError, match=rf"not standard: set {setting}\.input_scaling=centred"):
            configuration.make_backbone((3, 28, 28))("efficientnet_lite0:weights=imagenet")
