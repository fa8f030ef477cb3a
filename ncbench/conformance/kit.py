"""From a plugin's name to its checks."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from ncbench.conformance.report import Report, outcomes
from ncbench.conformance.subject import Check, Subject
from ncbench.contracts.cards import BackboneCard, Card, DatasetCard, MethodCard, MetricCard
from ncbench.contracts.errors import ConfigurationError, unknown_name
from ncbench.contracts.specs import Spec
from ncbench.discovery.registry import registry

if TYPE_CHECKING:
    import pytest

KINDS: Mapping[str, type[Card]] = MappingProxyType(
    {"method": MethodCard, "dataset": DatasetCard, "metric": MetricCard, "backbone": BackboneCard}
)
"""The kinds that have checks."""

NONE_EXPECTED: Mapping[str, str] = MappingProxyType({})


def checks(plugin: str | Card, kind: str | None = None) -> list[Check]:
    """Return every check of a plugin.

    Args:
        plugin: Its name, or a spec such as ``"resample:by=class"``; or a card that need not be installed.
        kind: ``"method"``, ``"dataset"``, ``"metric"`` or ``"backbone"``, for a name that several kinds have.

    Raises:
        ConfigurationError: There is no such plugin or kind, several kinds have the name, or the spec is not valid.
    """
    subject = _subject(plugin, kind)
    functions: Sequence[Callable[[Subject], None]]
    functions = importlib.import_module(f"ncbench.conformance.{subject.kind}s").CHECKS
    return [Check(function, subject) for function in functions]


def check(
    plugin: str | Card, kind: str | None = None, *, expected_failures: Mapping[str, str] = NONE_EXPECTED
) -> Report:
    """Run every check of a plugin.

    Args:
        plugin: As for :func:`checks`.
        kind: Likewise.
        expected_failures: Name of a check -> why it is known to fail. One that passes is reported, and not `ok`.

    Raises:
        ConfigurationError: As :func:`checks`; or there is no check of a name in `expected_failures`.
    """
    found = checks(plugin, kind)
    _require_known(expected_failures, found)
    return Report(describe(found[0].subject), tuple(outcomes(found, expected_failures)))


def parametrize(
    plugin: str | Card, kind: str | None = None, *, expected_failures: Mapping[str, str] = NONE_EXPECTED
) -> pytest.MarkDecorator:
    """Return a decorator that runs a pytest test once for every check, as its argument ``check``::

        @conformance.parametrize("my_method")
        def test_it_conforms(check):
            check()

    Expected failures are marked ``xfail(strict=True)``, so that one that passes fails the test. The arguments and
    errors are those of :func:`check`.
    """
    import pytest  # here, since only tests need it

    found = checks(plugin, kind)
    _require_known(expected_failures, found)
    parameters: list[Any] = []
    for each in found:
        reason = expected_failures.get(each.name)
        marks = () if reason is None else (pytest.mark.xfail(strict=True, reason=reason),)
        parameters.append(pytest.param(each, id=str(each), marks=marks))
    return pytest.mark.parametrize("check", parameters)


def describe(subject: Subject) -> str:
    """Return what is checked, for people."""
    return f"the {subject.kind} {subject.spec}"


def _subject(plugin: str | Card, kind: str | None) -> Subject:
    if kind is not None and kind not in KINDS:
        raise unknown_name("kind of plugin that has checks", kind, KINDS)
    if isinstance(plugin, Card):
        kinds = [name for name, card_type in KINDS.items() if isinstance(plugin, card_type) and kind in (None, name)]
        if not kinds:
            raise ConfigurationError(f"There are no checks for a {type(plugin).__name__} as a {kind or 'plugin'}.")
        return Subject(kinds[0], plugin, Spec(plugin.name))
    spec, found = Spec.parse(plugin), registry()
    kinds = [name for name in KINDS if spec.name in found.cards[f"{name}s"] and kind in (None, name)]
    if not kinds:
        names = {name for each in KINDS if kind in (None, each) for name in found.cards[f"{each}s"]}
        error = unknown_name(kind or "plugin", spec.name, names)
        skipped = "".join(f" {broken}" for broken in found.broken)  # the one that is looked for may be among them
        raise ConfigurationError(f"{error}{skipped}")
    if len(kinds) > 1:
        raise ConfigurationError(f"{spec.name!r} names a {' and a '.join(kinds)}; say which kind is meant (--kind).")
    registered = found.find(f"{kinds[0]}s", spec.name)
    if spec.parameters:  # an invalid spec is the caller's mistake, not the plugin's
        if kinds == ["metric"]:
            raise ConfigurationError(f"Metrics take no parameters: give {spec.name!r} alone.")
        registered.card.load().Parameters.build(spec.parameters, owner=spec.name)
    return Subject(kinds[0], registered.card, spec, registered.plugin)


def _require_known(expected_failures: Mapping[str, str], found: Sequence[Check]) -> None:
    names = [check.name for check in found]
    for name in expected_failures:
        if name not in names:
            raise unknown_name("check", name, names)
