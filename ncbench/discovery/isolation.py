"""Calling what is a plugin's, so that nothing it does while it is found spoils the command that looks for it."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

from ncbench.contracts.cards import stdout_to_stderr
from ncbench.contracts.errors import PluginError, described

LONGEST_SECONDS = 30.0
"""How long finding a plugin may take: every command waits for it."""


class _ControlC(KeyboardInterrupt):
    """The user's, as against one that a plugin raises."""


class _TooSlowError(BaseException):
    """Not an ``Exception``, which a plugin that tries again and again would pass over."""


@contextlib.contextmanager
def contained(longest: float = LONGEST_SECONDS) -> Iterator[None]:
    """Run a block of a plugin's code; what it prints goes to standard error, where ``--json`` prints nobody else may.

    Args:
        longest: Seconds that it may take; 0 for however long.

    Raises:
        PluginError: It raised anything at all, a ``BaseException`` too; or took longer, where the system has a way to
            tell (not on Windows, nor outside the main thread).
        KeyboardInterrupt: The user pressed Ctrl-C.
    """
    try:
        with stdout_to_stderr(), _signals_heard(longest):
            yield
    except _ControlC:
        raise KeyboardInterrupt from None
    except _TooSlowError:
        raise PluginError(f"it was not ready after {longest:g} s, and every command would wait for it") from None
    except PluginError:
        raise
    except BaseException as error:
        raise PluginError(described(error)) from error


@contextlib.contextmanager
def _signals_heard(longest: float) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "setitimer"):
        yield
        return
    former = {signal.SIGALRM: signal.signal(signal.SIGALRM, _time_is_up)}
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        former[signal.SIGINT] = signal.signal(signal.SIGINT, _control_c)
    timer = signal.setitimer(signal.ITIMER_REAL, longest)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, *timer)
        for number, handler in former.items():
            signal.signal(number, handler)


def _time_is_up(number: int, frame: FrameType | None) -> None:
    raise _TooSlowError


def _control_c(number: int, frame: FrameType | None) -> None:
    raise _ControlC
