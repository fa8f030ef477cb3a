"""Every built-in plugin passes the kit."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from ncbench import conformance
from ncbench.conformance.properties.common import CHECKS_OF_CARDS, CHECKS_OF_PARAMETERS
from ncbench.discovery.registry import plural, registry

# With parameters that take another path through the method than the defaults do.
VARIANTS = (
    *("shortcut_prime:bias=pseudo", "resample:by=class", "fixed_etf:loss=dot_regression", "ldam:deferred=0.5"),
    *("crt:by=group", "tau_norm:tau=1", "dfr:data=train"),
    *("self_llr:score=loss", "evals:choose=environment", "bias_contrastive:balanced=true"),
)
# The whole kit takes these several seconds each; without the slow tests, cards and parameters alone are checked.
LARGE = {
    *("tiered_imagenet_h", "resnet34", "resnet50", "wide_resnet", "vgg13", "vgg16", "vgg19"),
    *("densenet121", "densenet169", "densenet201", "vit_b_16", "efficientnet_lite0", "timm"),
    *("dispel", "dpe"),  # which fit 48 and 15 times
    "dfr",  # which fits 27 classifiers with an L1 penalty whenever it is trained
    "bias_ensemble",  # which trains six times
}
OF_THE_CARD = {check.__name__ for check in (*CHECKS_OF_CARDS, *CHECKS_OF_PARAMETERS)}


def built_in(kind: str) -> list[str]:
    found = registry().cards[plural(kind)]
    return sorted(name for name, (registered, *_) in found.items() if registered.plugin.distribution == "ncbench")


def whole(names: Iterable[str]) -> list[Any]:
    return [pytest.param(each, marks=pytest.mark.slow) if each.partition(":")[0] in LARGE else each for each in names]


@pytest.mark.parametrize("name", whole([*built_in("method"), *VARIANTS]))
def test_methods(name: str) -> None:
    assert (report := conformance.check(name, "method")).ok, str(report)


@pytest.mark.parametrize("name", whole(built_in("dataset")))
def test_datasets(name: str) -> None:
    assert (report := conformance.check(name, "dataset")).ok, str(report)


@pytest.mark.parametrize("name", [*built_in("groups"), "errors:val=true", "clusters:k=2"])
def test_groups(name: str) -> None:
    assert (report := conformance.check(name, "groups")).ok, str(report)


@pytest.mark.parametrize("name", built_in("metric"))
def test_metrics(name: str) -> None:
    assert (report := conformance.check(name, "metric")).ok, str(report)


def skip_without_extra(name: str) -> None:
    if package := {"efficientnet_lite0": "efficientnet_lite_pytorch", "timm": "timm"}.get(name):
        pytest.importorskip(package)


@pytest.mark.parametrize("name", whole(built_in("backbone")))
def test_backbones(name: str) -> None:
    skip_without_extra(name)
    assert (report := conformance.check(name, "backbone")).ok, str(report)


@pytest.mark.parametrize("name", sorted(LARGE))
def test_what_large_ones_declare(name: str) -> None:
    skip_without_extra(name)
    for check in conformance.checks(name):
        if check.name in OF_THE_CARD:
            check()
