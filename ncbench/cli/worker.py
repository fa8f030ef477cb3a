"""A process that has imported what runs need, and forks one for each run that it is asked for: those start at once.

``python -P -m ncbench.cli.worker DESCRIPTOR`` is for launchers on Linux. The descriptor is that of a stream socket. A
request is a line, the arguments of ``ncbench run`` as a JSON list. It is answered by two lines: the number of the
process that makes the run and, once that has ended, a JSON list of its exit code (negative for the number of a signal)
and the last line that it wrote to standard error. Requests are met one after the other, until the socket is closed.
Standard input and output are those of the runs.

The worker itself does nothing but import: it never uses a device, starts no thread and keeps nothing of a run. It
outlives the signals that ask a sweep to end, which its runs are sent as well; if it is killed, so is its run.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import json
import os
import signal
import socket
import sys
import tempfile
import threading
from typing import BinaryIO

from ncbench.cli import main as command_line
from ncbench.cli import supervisor
from ncbench.cli.commands.run import run
from ncbench.contracts.specs import parse_settings
from ncbench.training.configuration import resolve
from ncbench.training.evaluation.evaluator import load_metrics
from ncbench.training.interrupts import TERMINATING

FOR_RUNS = ("filelock", "ncbench.cli.progress", "ncbench.cli.tables.result", "ncbench.training.run")
"""What the command imports when it is used."""


def main() -> None:
    """Serve requests; in the process forked for one, make the run."""
    for module in FOR_RUNS:
        importlib.import_module(module)
    with socket.socket(fileno=int(sys.argv[1])) as channel:
        channel.set_inheritable(False)
        arguments = _next_run(channel)
    if arguments is not None:
        sys.argv = ["ncbench", "run", *arguments]
        try:
            command_line.main()
        except SystemExit as end:
            _leave(end.code)


def _leave(code: str | int | None) -> None:
    """End as Python does, but for taking itself down: of a fork that takes longer than a short run."""
    for thread in threading.enumerate():
        if not thread.daemon and thread is not threading.current_thread():
            thread.join()
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code if isinstance(code, int) else int(code is not None))


def _next_run(channel: socket.socket) -> list[str] | None:
    """Return, in a process of its own, the arguments of a run; in the worker None, at the end."""
    worker = os.getpid()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # a daemon may have left it ignored
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, *TERMINATING})
    with contextlib.suppress(ConnectionError), channel.makefile(encoding="utf-8") as requests:
        for request in requests:
            arguments: list[str] = json.loads(request)
            _import_for(arguments)
            gc.freeze()  # else every run would copy the memory of what it never uses by looking for garbage there
            if threading.active_count() > 1:  # a plugin has started one: what it had locked would stay so after a fork
                channel.sendall(f"{worker}\n".encode())
                signal.pthread_sigmask(signal.SIG_SETMASK, mask)
                os.execv(sys.executable, [sys.executable, "-P", "-m", "ncbench", "run", *arguments])  # noqa: S606
            with tempfile.TemporaryFile() as errors:
                process = os.fork()
                if not process:
                    os.dup2(errors.fileno(), 2)
                    os.setsid()  # what is sent to the group of one run reaches no other
                    supervisor.end_with_parent(worker)
                    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
                    supervisor.fork_supervised()
                    return arguments
                channel.sendall(f"{process}\n".encode())
                _, status = os.waitpid(process, 0)
                ended = os.waitstatus_to_exitcode(status), _last_line(errors)
            channel.sendall(f"{json.dumps(ended)}\n".encode())
    return None


def _import_for(arguments: list[str]) -> None:
    """Import the plugins that a run uses; what is wrong with them or with its arguments, the run itself says."""
    with contextlib.suppress(Exception):
        given = run.make_context("run", list(arguments)).params
        settings = parse_settings(list(given["settings"]))
        names = (given["method"], given["dataset"], given["backbone"], given["seed"], settings)
        resolve(*names, synthetic=False, groups=given["groups"])
        load_metrics()


def _last_line(errors: BinaryIO) -> str:
    errors.seek(0)
    last = b""
    for line in errors:
        last = line.strip() or last
    return last.decode(errors="replace")


if __name__ == "__main__":
    main()
