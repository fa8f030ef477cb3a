"""The plugin that is checked, and a check: one property that every plugin of its kind must have."""

from __future__ import annotations

import contextlib
import functools
import random
import traceback
import unittest
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

import ncbench
from ncbench.contracts.cards import Card
from ncbench.contracts.errors import ConfigurationError, DataError, described
from ncbench.contracts.specs import Spec
from ncbench.discovery.registry import Plugin

_NOT_THE_PLUGINS = tuple(Path(str(package.__file__)).parent for package in (ncbench, torch))


class ConformanceError(AssertionError):
    """The plugin lacks the property; the message says how that showed."""


class Skipped(unittest.SkipTest):
    """The property cannot be asked of this plugin; the message says why. pytest reports it as skipped."""


def require(condition: bool, message: str) -> None:
    """Raise a failure with this message unless the condition holds."""
    if not condition:
        raise ConformanceError(message)


@contextlib.contextmanager
def saying(where: str) -> Iterator[None]:
    """Make a failure of whatever is raised in this block, and say where that was."""
    try:
        yield
    except Skipped:
        raise
    except (ConformanceError, ConfigurationError, DataError) as error:
        raise ConformanceError(f"{where}: {error}") from error
    except Exception as error:  # a plugin may fail in any way
        raise ConformanceError(f"{where} it raises {located(error)}") from error


def located(error: BaseException) -> str:
    """Return an exception in one line, with the last of the plugin's own lines that it came through."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if not any(map(Path(frame.filename).is_relative_to, _NOT_THE_PLUGINS))]
    last = (own or frames)[-1]
    return f"{described(error)} ({Path(last.filename).name}, line {last.lineno}, in {last.name})"


@dataclass(frozen=True, eq=False)
class Subject:
    """The plugin that is checked.

    Args:
        kind: ``"method"``, ``"groups"``, ``"dataset"``, ``"metric"`` or ``"backbone"``.
        card: Its card.
        spec: Its name, with the parameters to check it under.
        plugin: Where the card came from; None for a card that no installed plugin brought.
    """

    kind: str
    card: Any
    spec: Spec
    plugin: Plugin | None = None

    def __str__(self) -> str:
        return f"the {self.kind} {self.spec}"

    @cached_property
    def factory(self) -> Any:
        """The class behind the card.

        Raises:
            PluginError: It cannot be imported.
        """
        card: Card = self.card
        return card.load()

    @cached_property
    def params(self) -> Any:
        """The parameters, validated."""
        return self.factory.Parameters.build(self.spec.parameters, owner=self.spec.name)


Property = Callable[[Subject], None]
"""Raises unless it holds of the plugin. Its name is the check's, its docstring says what must hold."""


def builds_on(*earlier: Property) -> Callable[[Property], Property]:
    """Let a check that fails be skipped where an earlier one fails too, which says more plainly what is wrong."""

    def decorate(check: Property) -> Property:
        @functools.wraps(check)
        def checked(subject: Subject) -> None:
            try:
                check(subject)
            except KeyboardInterrupt:
                raise
            except BaseException as error:
                for plainer in earlier:
                    if not isinstance(error, Skipped) and _fails(plainer, subject):
                        raise Skipped(f"see {plainer.__name__}") from error
                raise

        return checked

    return decorate


def _fails(check: Property, subject: Subject) -> bool:
    try:
        check(subject)
    except Skipped:
        return False
    except KeyboardInterrupt:
        raise
    except BaseException:
        return True
    return False


@dataclass(frozen=True, eq=False)
class Check:
    """A property and the plugin it is asked of; calling it runs the check.

    Args:
        function: The property.
        subject: The plugin.
    """

    function: Property
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
        with _isolated():
            self.function(self.subject)


@contextlib.contextmanager
def _isolated() -> Iterator[None]:
    """Run on one thread, as tiny tensors want, and put generators and settings back afterwards."""
    before = random.getstate(), np.random.get_state(), torch.get_rng_state()
    dtype, threads = torch.get_default_dtype(), torch.get_num_threads()
    deterministic = torch.are_deterministic_algorithms_enabled()
    torch.set_num_threads(1)
    try:
        with torch.set_grad_enabled(True):
            yield
    finally:
        torch.set_num_threads(threads)
        torch.set_default_dtype(dtype)
        if torch.are_deterministic_algorithms_enabled() != deterministic:  # setting it imports torch's compiler
            torch.use_deterministic_algorithms(deterministic)
        random.setstate(before[0])
        np.random.set_state(before[1])
        torch.set_rng_state(before[2])
