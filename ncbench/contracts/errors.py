"""The errors a user can cause, each with the exit code the command line ends with."""

from __future__ import annotations

import difflib
import errno
import re
from collections.abc import Iterable, Sequence

FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""Numbers of the errors of a disk that is full, or of which a user may have no more."""
# What has no exception of its own: torch's allocators, and the loader of libraries.
_MEMORY = re.compile(r"can't allocate memory|out of memory|cannot allocate memory|failed to map segment", re.IGNORECASE)
# Line breaks, what moves a terminal's cursor, and what Unicode has of either.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_LISTED = 12  # names in a line that says where the others are listed


class NcbenchError(Exception):
    """Base of every error ncbench raises on purpose: one line saying what is wrong and what to do next."""

    exit_code = 1

    def __str__(self) -> str:
        return one_line(super().__str__())


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


def unknown_name(kind: str, name: str, valid: Iterable[str], listed_by: str = "") -> ConfigurationError:
    """Return the error for a name that does not exist: the nearest match, then the valid ones.

    Args:
        kind: What the name was meant to be, in the singular ("method", "parameter of erm", ...).
        name: The name as given.
        valid: The names that exist.
        listed_by: What lists them, such as a command; of more than a dozen, only the most similar are then named.
    """
    choices = sorted(valid)
    similar = difflib.get_close_matches(name, choices, n=_LISTED, cutoff=0.0)
    nearest = difflib.get_close_matches(name, similar, n=1, cutoff=0.5)
    hint = f" Did you mean {nearest[0]!r}?" if nearest else ""
    if listed_by and len(choices) > _LISTED:
        listed = f" Valid: {', '.join(sorted(similar))} and {len(choices) - _LISTED} more ({listed_by})."
    else:
        listed = f" Valid: {', '.join(choices)}." if choices else " There are none."
    return ConfigurationError(f"Unknown {kind} {name!r}.{hint}{listed}")


def one_line(text: str) -> str:
    r"""Return a text with its control characters written as ``\n`` and so on: the names of files may hold any."""
    return _CONTROL.sub(lambda match: repr(match[0])[1:-1], text)


def name_offenders(offenders: Sequence[str], limit: int = 20) -> str:
    """Return the first offenders in one line, and how many more there are."""
    shown = "; ".join(offenders[:limit])
    return shown if len(offenders) <= limit else f"{shown}; and {len(offenders) - limit} more"


def lacking(error: BaseException) -> str | None:
    """Return what the machine lacks, and what to do, if that is why an error was raised; None if it is not."""
    if isinstance(error, MemoryError) or _MEMORY.search(described(error)):
        return f"Memory ran out ({described(error):.200}): end other programs, or make fewer runs at a time."
    if "can't start new thread" in described(error) or (isinstance(error, OSError) and error.errno == errno.EAGAIN):
        return f"No more processes or threads are allowed ({described(error)}): raise the limit (ulimit -u)."
    if not isinstance(error, OSError):
        return None
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return f"{error.strerror}: more files are needed at once than are allowed; raise the limit (ulimit -n)."
    if error.errno in FULL:
        where = f" for {error.filename}" if error.filename else ""
        return f"There is no space left{where}: free some and try again."
    return None


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
