"""A process that waits for the one in which a command runs, and speaks for it where that ends without a word.

A plugin, or a library below it, may end the process: by ``os._exit``, by ``abort``, by a fault in C. Nothing in that
process can put it right then, and with exit code 0 it would look like success. Its parent can: it writes the record of
the run, and the command ends with 1.

Both are in one process group, so that the terminal's Ctrl-C and Ctrl-Z reach both, and the parent hands on what is sent
to it alone: of what was sent to the group, as ``timeout`` and notebooks do, the child has told it. If the parent is
killed, so is its child.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from ncbench.cli.terminal import tell
from ncbench.discovery import last_words
from ncbench.training.interrupts import TERMINATING

_PR_SET_PDEATHSIG = 1
_SI_KERNEL = 0x80
_FAULTS = ("SIGABRT", "SIGBUS", "SIGFPE", "SIGILL", "SIGSEGV", "SIGSYS", "SIGTRAP")
_TOGETHER_SECONDS = 0.2  # within which equal signals to the parent and its child are one: timeout sends it to each


def go_on_supervised() -> None:
    """Return in a child process, which calls :func:`leave` in the end; this process waits for it and ends as it does.

    Without fork and what Linux alone has for it, return in this process. So too where torch is loaded or other threads
    run, as in a test or a notebook, since a fork would leave their locks locked.
    """
    if sys.platform == "linux" and "torch" not in sys.modules and threading.active_count() == 1:
        fork_supervised()


def fork_supervised() -> None:
    """As :func:`go_on_supervised`, on Linux, where nothing that is loaded has started a thread."""
    # A daemon may have left it ignored. No child would be heard of then, and the codes of the child's own be lost.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    descriptor, parent = os.memfd_create("ncbench"), os.getpid()
    hearing, heard = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD, signal.SIGINT, *TERMINATING})
    child = os.fork()
    if child:
        code, told = _wait(child, hearing)
        _end_as(code, told, last_words.read(descriptor), mask)
    signal.set_wakeup_fd(heard, warn_on_full_buffer=False)
    end_with_parent(parent)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    last_words.keep_in(descriptor)


def end_with_parent(parent: int) -> None:
    """Have this process killed when the one of this number, which has just forked it, ends."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it was killed before it could be heard
        os.kill(os.getpid(), signal.SIGKILL)


def leave() -> None:
    """Say that the command ends by itself, with whatever exit code."""
    last_words.note(done=True)


def _wait(child: int, hearing: int) -> tuple[int, bool]:
    """Return how the child ended, its exit code or a negative signal, and whether it had been told to end.

    Args:
        child: Its number.
        hearing: What the child reads signals into, as soon as they reach it: a byte each, its number.
    """
    told = False
    while True:
        sent = signal.sigwaitinfo({signal.SIGCHLD, signal.SIGINT, *TERMINATING})
        if sent.si_signo == signal.SIGCHLD:
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                return os.waitstatus_to_exitcode(status), told
            continue
        told = True
        time.sleep(_TOGETHER_SECONDS)
        signal.sigtimedwait({sent.si_signo}, 0)
        heard = b""
        with contextlib.suppress(BlockingIOError):
            heard = os.read(hearing, 1 << 16)
        if sent.si_signo not in heard and sent.si_code != _SI_KERNEL:  # the terminal's, even if the child ignores it
            os.kill(child, sent.si_signo)


def _end_as(code: int, told: bool, words: Mapping[str, Any], mask: set[int | signal.Signals]) -> NoReturn:
    by_itself = code >= 0 or -code in {signal.Signals[name] for name in _FAULTS}
    if by_itself and "done" not in words:
        if told and "record" not in words:  # torch aborts where Ctrl-C meets it being imported
            tell("Interrupted.")
            code = 130
        else:
            _speak(code, words)
            code = 1
    sys.stderr.flush()
    if code < 0:  # by a signal from outside, as where memory ran out, or when the work was done
        with contextlib.suppress(OSError):  # SIGKILL has nothing else
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
