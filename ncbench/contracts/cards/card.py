"""What is common to every card, and the cards that say no more or little more."""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any

from ncbench.contracts.errors import PluginError, described

NAME = re.compile(r"[a-z][a-z0-9_]*")
"""What users type: the name of a card, or a key of its parameters."""


@contextlib.contextmanager
def stdout_to_stderr() -> Iterator[None]:
    """Send what is printed to standard output to standard error, also by libraries and programs that a block calls."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.redirect_stdout(sys.stderr))
        with contextlib.suppress(OSError):  # either of them may be closed
            kept = os.dup(1)
            stack.callback(os.close, kept)
            os.dup2(2, 1)
            stack.callback(os.dup2, kept, 1)
            if os.name == "posix":  # libraries in C keep what they print until the process ends, unless they are told
                stack.callback(ctypes.CDLL(None).fflush, None)
        yield


@dataclass(frozen=True, kw_only=True)
class Card:
    """What is common to every card.

    Args:
        name: Lower-case name users type, unique within its kind.
        summary: One line for ``ncbench list``.
        factory: Where the implementation is, as ``"package.module:Class"``.
        citation: Author, title, venue and year of the source; empty if there is none.

    Raises:
        PluginError: A field is malformed.
    """

    name: str
    summary: str
    factory: str
    citation: str = ""

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if each.type in ("str", str) and not isinstance(value, str):
                raise PluginError(f"The {each.name} of a card must be text, not {type(value).__name__}.")
        if not NAME.fullmatch(self.name):
            raise PluginError(f"The card name {self.name!r} must be lower-case letters, digits and underscores.")
        if not self.summary or "\n" in self.summary:
            raise PluginError(f"The card {self.name!r} needs a summary of exactly one line.")
        module, _, attribute = self.factory.partition(":")
        if not module or not attribute.isidentifier():
            raise PluginError(f"The factory {self.factory!r} of {self.name!r} must be 'package.module:Class'.")

    def load(self) -> Any:
        """Import and return the class named by `factory`.

        Raises:
            PluginError: The module or the class cannot be imported; the cause is chained.
        """
        module, _, attribute = self.factory.partition(":")
        try:
            with stdout_to_stderr():  # where `--json` prints nobody else may
                return getattr(importlib.import_module(module), attribute)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # a plugin may fail in any way while it is imported
            raise PluginError(
                f"{self.name!r} cannot be used: importing {self.factory} failed ({described(error)})."
            ) from error


@dataclass(frozen=True, kw_only=True)
class DatasetCard(Card):
    """A dataset; `factory` is a :class:`~ncbench.contracts.dataset.Dataset`.

    Args:
        manifest: Its manifest as ``"package:path/to/file.yaml"``, a resource of an installed package.
    """

    manifest: str


@dataclass(frozen=True, kw_only=True)
class BackboneCard(Card):
    """A feature extractor; `factory` is a :class:`~ncbench.contracts.method.Backbone`."""


@dataclass(frozen=True, kw_only=True)
class LauncherCard(Card):
    """A way to run a sweep: on this machine, on a cluster."""


@dataclass(frozen=True, kw_only=True)
class TrackerCard(Card):
    """A place where runs are shown while they train; `factory` is a :class:`~ncbench.contracts.tracker.Tracker`."""
