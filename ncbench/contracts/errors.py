"""The errors a user can cause, each with the exit code the command line ends with."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence


class NcbenchError(Exception):
    """Base of every error ncbench raises on purpose: one line saying what is wrong and what to do next."""

    exit_code = 1


class ConfigurationError(NcbenchError):
    """Wrong usage or configuration: an unknown name, key or value, or options that contradict each other."""

    exit_code = 2


class DataError(NcbenchError):
    """Data, a store or a checkpoint that is missing, damaged or not what the manifest promises."""

    exit_code = 3


class SupervisionError(NcbenchError):
    """A method read a label it did not declare."""


class PluginError(ConfigurationError):
    """A plugin that is broken, or two plugins that claim one name."""


def unknown_name(kind: str, name: str, valid: Iterable[str]) -> ConfigurationError:
    """Return the error for a name that does not exist: the nearest match, then every valid one.

    Args:
        kind: What the name was meant to be, in the singular ("method", "parameter of erm", ...).
        name: The name as given.
        valid: The names that exist.
    """
    choices = sorted(valid)
    nearest = difflib.get_close_matches(name, choices, n=1, cutoff=0.5)
    hint = f" Did you mean {nearest[0]!r}?" if nearest else ""
    listed = f" Valid: {', '.join(choices)}." if choices else " There are none."
    return ConfigurationError(f"Unknown {kind} {name!r}.{hint}{listed}")


def name_offenders(offenders: Sequence[str], limit: int = 20) -> str:
    """Return the first offenders in one line, and how many more there are."""
    shown = "; ".join(offenders[:limit])
    return shown if len(offenders) <= limit else f"{shown}; and {len(offenders) - limit} more"


def described(error: BaseException) -> str:
    """Return an exception's type and message in one line; it may be one that cannot be printed."""
    try:
        message = " ".join(str(error).split())
    except BaseException:
        message = "its message cannot be printed"
    return f"{type(error).__name__}: {message}" if message else type(error).__name__


def counted(number: int, noun: str) -> str:
    """Return a number of things, as ``1 run`` or ``2 runs``."""
    return f"{number} {noun}{'s' * (number != 1)}"
