"""The plugin that is checked, and a check: one property that every plugin of its kind must have."""

from __future__ import annotations

import unittest
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ncbench.conformance.surroundings import isolated
from ncbench.contracts.cards import Card
from ncbench.contracts.errors import PluginError
from ncbench.contracts.specs import Spec
from ncbench.discovery.registry import Plugin


class ConformanceError(AssertionError):
    """The plugin lacks the property; the message says how that showed."""


class Skipped(unittest.SkipTest):
    """The property cannot be asked of this plugin; the message says why. pytest reports it as skipped."""


def require(condition: bool, message: str) -> None:
    """Raise a failure with this message unless the condition holds."""
    if not condition:
        raise ConformanceError(message)


@dataclass(frozen=True, eq=False)
class Subject:
    """The plugin that is checked.

    Args:
        kind: ``"method"``, ``"dataset"``, ``"metric"`` or ``"backbone"``.
        card: Its card.
        spec: Its name, with the parameters to check it under.
        plugin: Where the card came from; None for a card that no installed plugin brought.
    """

    kind: str
    card: Any
    spec: Spec
    plugin: Plugin | None = None

    @cached_property
    def factory(self) -> Any:
        """The class behind the card.

        Raises:
            Skipped: It cannot be imported, which the check of the card reports.
        """
        card: Card = self.card
        try:
            return card.load()
        except PluginError as error:
            raise Skipped("the class cannot be imported; see card_is_truthful") from error

    @cached_property
    def params(self) -> Any:
        """The parameters, validated."""
        return self.factory.Parameters.build(self.spec.parameters, owner=self.spec.name)


@dataclass(frozen=True, eq=False)
class Check:
    """A property and the plugin it is asked of; calling it runs the check.

    Args:
        function: Takes the subject. Its name is the check's, its docstring says what must hold.
        subject: The plugin.
    """

    function: Callable[[Subject], None]
    subject: Subject

    @property
    def name(self) -> str:
        """The check's name, by which a failure can be expected."""
        return self.function.__name__

    def __str__(self) -> str:
        return f"{self.subject.spec}-{self.name}"

    def __call__(self) -> None:
        """Run the check; generators, threads and settings of torch are as before afterwards.

        Raises:
            ConformanceError: The property does not hold.
            Skipped: It cannot be asked of this plugin.
            Exception: Whatever the plugin raised where it must not raise.
        """
        with isolated():
            self.function(self.subject)
