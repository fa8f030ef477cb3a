"""A process that waits for the one in which a command runs, and speaks for it where that ends without a word.

A plugin, or a library below it, may end the process: by ``os._exit``, by ``abort``, by a fault in C. Nothing in that
process can put it right then, and with exit code 0 it would look like success. Its parent can: it writes the record of
the run, and the command ends with 1.

Both are in one process group, so that the terminal's Ctrl-C and Ctrl-Z reach both, and the parent hands on what is sent
to it alone. If it is killed itself, so is its child.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from ncbench.cli.terminal import tell
from ncbench.discovery import last_words

_PR_SET_PDEATHSIG = 1
_SI_KERNEL = 0x80
_FAULTS = frozenset({"SIGABRT", "SIGBUS", "SIGFPE", "SIGILL", "SIGSEGV", "SIGSYS", "SIGTRAP"})


def go_on_supervised() -> None:
    """Return in a child process, which calls :func:`leave` in the end; this process waits for it and ends as it does.

    Without fork and what Linux alone has for it, return in this process. So too where torch is loaded or other threads
    run, as in a test or a notebook, since a fork would leave their locks locked.
    """
    if sys.platform != "linux" or "torch" in sys.modules or threading.active_count() > 1:
        return
    awaited = {signal.SIGCHLD, signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1}
    descriptor, parent = os.memfd_create("ncbench"), os.getpid()
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, awaited)
    child = os.fork()
    if child:
        _end_as(_wait(child, awaited), last_words.read(descriptor), mask)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it was killed before it could be heard
        os.kill(os.getpid(), signal.SIGKILL)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    last_words.keep_in(descriptor)


def leave() -> None:
    """Say that the command ends by itself, with whatever exit code."""
    last_words.note(done=True)


def _wait(child: int, awaited: set[signal.Signals]) -> int:
    """Return how the child ended: its exit code, or a negative signal."""
    while True:
        heard = signal.sigwaitinfo(awaited)
        if heard.si_signo != signal.SIGCHLD:
            if heard.si_code != _SI_KERNEL:  # what the terminal sends reaches the child as well
                os.kill(child, heard.si_signo)
            continue
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)


def _end_as(code: int, words: Mapping[str, Any], mask: set[int | signal.Signals]) -> NoReturn:
    by_itself = code >= 0 or signal.Signals(-code).name in _FAULTS
    if by_itself and "done" not in words:
        _speak(code, words)
        code = 1
    sys.stderr.flush()
    if code < 0:  # by a signal from outside, as where memory ran out, or when the work was done
        if -code != signal.SIGKILL:
            signal.signal(-code, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        os.kill(os.getpid(), -code)
    os._exit(code)  # what else is due at the end of a process was done in the child


def _speak(code: int, words: Mapping[str, Any]) -> None:
    from ncbench.data.files import write_atomically  # here: it takes longer to import than all of the command line

    how = f"with exit code {code}, as os._exit does" if code >= 0 else f"by signal {-code}, {signal.strsignal(-code)}"
    reason, where = f"the process was ended {how}", ""
    if "record" in words:
        path, record = Path(words["path"]), {**words["record"], "reason": reason}
        write_atomically(path, (json.dumps(record, indent=1) + "\n").encode())
        where = f" The record is {path}."
    tell(f"Error: {words.get('who', 'the command')} failed: {reason}.{where}")
