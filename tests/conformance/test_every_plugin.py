"""Every built-in plugin passes the kit."""

from __future__ import annotations

from typing import Any

import pytest

from ncbench import conformance
from ncbench.conformance.common import CHECKS_OF_CARDS, CHECKS_OF_PARAMETERS
from ncbench.discovery.registry import registry

# With parameters that take another path through the method than the defaults do.
VARIANTS = ("shortcut_prime:bias=pseudo", "resample:by=class", "fixed_etf:loss=dot_regression", "ldam:deferred=0.5")
# Of networks that differ in their depth alone, one is built; of the others the cards and parameters are checked.
DEEPER_ONES = ("resnet34", "resnet50", "vgg13", "vgg16", "vgg19", "densenet169", "densenet201")
OF_THE_CARD = {check.__name__ for check in (*CHECKS_OF_CARDS, *CHECKS_OF_PARAMETERS)}


def built_in(kind: str) -> list[str]:
    found = registry().cards[f"{kind}s"]
    return sorted(name for name, (registered, *_) in found.items() if registered.plugin.distribution == "ncbench")


@pytest.mark.parametrize("name", [*built_in("method"), *VARIANTS])
def test_methods(name: str) -> None:
    assert (report := conformance.check(name, "method")).ok, str(report)


def slow(name: str) -> Any:
    return pytest.param(name, marks=pytest.mark.slow)


@pytest.mark.parametrize("name", [slow(name) if name == "tiered_imagenet_h" else name for name in built_in("dataset")])
def test_datasets(name: str) -> None:
    assert (report := conformance.check(name, "dataset")).ok, str(report)


@pytest.mark.parametrize("name", built_in("metric"))
def test_metrics(name: str) -> None:
    assert (report := conformance.check(name, "metric")).ok, str(report)


@pytest.mark.parametrize("name", [name for name in built_in("backbone") if name not in DEEPER_ONES])
def test_backbones(name: str) -> None:
    assert (report := conformance.check(name, "backbone")).ok, str(report)


@pytest.mark.parametrize("name", [name for name in built_in("backbone") if name in DEEPER_ONES])
def test_what_deeper_backbones_declare(name: str) -> None:
    for check in conformance.checks(name, "backbone"):
        if check.name in OF_THE_CARD:
            check()
