"""From a plugin's name to its checks, and to the report of what became of them."""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

from ncbench.conformance.properties.common import BASES, CHECKS_OF_CARDS
from ncbench.conformance.subject import Check, ConformanceError, Skipped, Subject, located
from ncbench.contracts.cards import Card
from ncbench.contracts.errors import ConfigurationError, PluginError, unknown_name
from ncbench.contracts.specs import Spec
from ncbench.discovery import registry as discovery
from ncbench.discovery.scaffold import STARTS

if TYPE_CHECKING:
    import pytest

KINDS: Mapping[str, type[Card]] = MappingProxyType({kind: discovery.KINDS[discovery.plural(kind)] for kind in STARTS})
"""The kinds that have checks: those that can be written."""

NONE_EXPECTED: Mapping[str, str] = MappingProxyType({})

Status = Literal["passed", "failed", "skipped", "failed as expected", "passed unexpectedly"]


@dataclass(frozen=True)
class Outcome:
    """What became of one check.

    Args:
        check: Its name.
        status: ``"passed unexpectedly"`` if a failure was expected.
        reason: One line: why it failed or was skipped, or why a failure was expected; empty if it passed.
    """

    check: str
    status: Status
    reason: str = ""

    def __str__(self) -> str:
        return f"{self.status:<8} {self.check}" + (f": {self.reason}" if self.reason else "")


@dataclass(frozen=True)
class Report:
    """What became of every check of one plugin.

    Args:
        subject: For example ``"the method erm"``.
        outcomes: One a check.
    """

    subject: str
    outcomes: tuple[Outcome, ...]

    def count(self, status: Status) -> int:
        """Return how many checks ended this way."""
        return Counter(outcome.status for outcome in self.outcomes)[status]

    @property
    def run(self) -> int:
        """How many checks were run, that is, not skipped."""
        return len(self.outcomes) - self.count("skipped")

    @property
    def ok(self) -> bool:
        """Whether checks were run, none failed, and every expected failure failed."""
        return self.run > 0 and self.count("failed") == 0 and self.count("passed unexpectedly") == 0

    @property
    def summary(self) -> str:
        """The counts, in one line."""
        parts = [f"{self.run} run", f"{self.count('passed')} passed", f"{self.count('failed')} failed"]
        parts += [f"{self.count('skipped')} skipped", f"{self.count('failed as expected')} failed as expected"]
        if unexpected := self.count("passed unexpectedly"):
            parts.append(f"{unexpected} passed unexpectedly")
        nothing = "" if self.run else " Nothing was checked, which is a failure."
        return f"{len(self.outcomes)} checks of {self.subject}: {', '.join(parts)}.{nothing}"

    def __str__(self) -> str:
        return "\n".join([*map(str, self.outcomes), self.summary])


def checks(plugin: str | Card, kind: str | None = None) -> list[Check]:
    """Return every check of a plugin; of one whose class cannot be used, those of its card alone.

    Args:
        plugin: Its name, or a spec such as ``"resample:by=class"``; or a card that need not be installed.
        kind: ``"method"``, ``"groups"``, ``"dataset"``, ``"metric"`` or ``"backbone"``, where several have the name.

    Raises:
        ConfigurationError: There is no such plugin or kind, several kinds have the name, or the spec is not valid.
    """
    return _find(plugin, kind, NONE_EXPECTED)


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
    found = _find(plugin, kind, expected_failures)
    return Report(str(found[0].subject), tuple(outcomes(found, expected_failures)))


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

    parameters: list[Any] = []
    for each in _find(plugin, kind, expected_failures):
        reason = expected_failures.get(each.name)
        marks = () if reason is None else (pytest.mark.xfail(strict=True, reason=reason),)
        parameters.append(pytest.param(each, id=str(each), marks=marks))
    return pytest.mark.parametrize("check", parameters)


def outcomes(checks: Iterable[Check], expected_failures: Mapping[str, str] = NONE_EXPECTED) -> Iterator[Outcome]:
    """Run checks one after the other, and yield the outcome of each as soon as it is known; arguments of `check`."""
    for check in checks:
        expected = expected_failures.get(check.name)
        try:
            check()
        except Skipped as skipped:
            yield Outcome(check.name, "skipped", str(skipped))
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # a plugin may fail in any way
            reason = " ".join(str(error).split()) if isinstance(error, ConformanceError) else located(error)
            failed = Outcome(check.name, "failed", reason)
            yield failed if expected is None else Outcome(check.name, "failed as expected", expected)
        else:
            passed = Outcome(check.name, "passed")
            yield passed if expected is None else Outcome(check.name, "passed unexpectedly", f"expected: {expected}")


def _find(plugin: str | Card, kind: str | None, expected_failures: Mapping[str, str]) -> list[Check]:
    subject = _subject(plugin, kind)
    properties = importlib.import_module(f"ncbench.conformance.properties.{discovery.plural(subject.kind)}").CHECKS
    names = [each.__name__ for each in properties]
    for name in expected_failures:
        if name not in names:
            raise unknown_name("check", name, names)
    return [Check(each, subject) for each in (properties if _is_usable(subject) else CHECKS_OF_CARDS)]


def _is_usable(subject: Subject) -> bool:
    try:
        return issubclass(subject.factory, BASES[subject.kind])
    except (PluginError, TypeError):  # it cannot be imported, or is no class
        return False


def _subject(plugin: str | Card, kind: str | None) -> Subject:
    if kind is not None and kind not in KINDS:
        raise unknown_name("kind of plugin that has checks", kind, KINDS)
    if isinstance(plugin, Card):
        kinds = [name for name, card_type in KINDS.items() if type(plugin) is card_type and kind in (None, name)]
        if not kinds:
            raise ConfigurationError(f"There are no checks for a {type(plugin).__name__} as a {kind or 'plugin'}.")
        return Subject(kinds[0], plugin, Spec(plugin.name))
    spec, found = Spec.parse(plugin), discovery.registry()
    kinds = [name for name in KINDS if spec.name in found.cards[discovery.plural(name)] and kind in (None, name)]
    if not kinds:
        names = {name for each in KINDS if kind in (None, each) for name in found.cards[discovery.plural(each)]}
        error = unknown_name(kind or "plugin", spec.name, names)
        skipped = "".join(f" {broken}" for broken in found.broken)  # the one that is looked for may be among them
        raise ConfigurationError(f"{error}{skipped}")
    if len(kinds) > 1:
        raise ConfigurationError(f"{spec.name!r} names a {' and a '.join(kinds)}; say which kind is meant (--kind).")
    registered = found.find(discovery.plural(kinds[0]), spec.name)
    if spec.parameters:  # an invalid spec is the caller's mistake, not the plugin's
        if kinds == ["metric"]:
            raise ConfigurationError(f"Metrics take no parameters: give {spec.name!r} alone.")
        registered.card.load().Parameters.build(spec.parameters, owner=spec.name)
    return Subject(kinds[0], registered.card, spec, registered.plugin)
