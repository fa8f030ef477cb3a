"""Python processes without the seconds an interpreter takes to import torch: forked from one that has done it.

Each has its own arguments, environment, folder, output and exit code, and hears signals, as one started anew would.
What it is like to start anew (which modules an import brings) is not tested with these.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import runpy
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(
    [
        "matplotlib.figure",
        "ncbench.cli.commands.run",
        "ncbench.cli.main",
        "ncbench.training.run",
        "pytest",
    ]
)
STREAMS = ("stdout", "stderr")


@dataclass(frozen=True)
class Finished:
    """How a command ended, and what it printed."""

    returncode: int
    stdout: str
    stderr: str


class Process:
    """What ``python ARGUMENTS`` would be: ``-m MODULE ...`` or ``-c CODE ...``.

    Args:
        arguments: Those of the interpreter.
        cwd: The folder it runs in, by default the present one.
        environment: Variables that differ from this process's; None unsets one.
    """

    def __init__(self, *arguments: str | Path, cwd: Path | None = None, **environment: str | None) -> None:
        self._folder = TemporaryDirectory()
        self._printed = Path(self._folder.name)
        for stream in STREAMS:
            (self._printed / stream).touch()
        whole = {name: value for name, value in {**os.environ, **environment}.items() if value is not None}
        self._process = _CONTEXT.Process(
            target=_run,
            args=([*map(str, arguments)], whole, cwd or Path.cwd(), self._printed),
            daemon=True,
        )
        self._process.start()

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return self._process.is_alive()

    def send(self, number: signal.Signals) -> None:
        """Send it a signal, unless it has ended."""
        assert self._process.pid is not None
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._process.pid, number)

    @property
    def stdout(self) -> str:
        """What it has printed so far."""
        return (self._printed / "stdout").read_text()

    def finish(self, timeout: float = 600) -> Finished:
        """Wait until it ends; a negative exit code is the signal that ended it."""
        self._process.join(timeout)
        code = self._process.exitcode
        assert code is not None, f"it has not ended after {timeout} s"
        return Finished(code, *((self._printed / stream).read_text() for stream in STREAMS))


def python(*arguments: str | Path, cwd: Path | None = None, **environment: str | None) -> Finished:
    """Run ``python ARGUMENTS`` to its end; see :class:`Process`."""
    return Process(*arguments, cwd=cwd, **environment).finish()


def ncbench(*arguments: str | Path, **environment: str | None) -> Finished:
    """Run ``ncbench ARGUMENTS`` to its end; see :class:`Process`."""
    return python("-m", "ncbench", *arguments, **environment)


def _run(arguments: list[str], environment: dict[str, str], folder: Path, printed: Path) -> None:
    """Become what was asked for, in the process just forked."""
    for number, stream in enumerate(STREAMS, 1):
        file = (printed / stream).open("w", buffering=1)
        os.dup2(file.fileno(), number)
        setattr(sys, stream, os.fdopen(number, "w", buffering=1))
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.path[:0] = [path for path in environment.get("PYTHONPATH", "").split(os.pathsep) if path]
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background ignores it, and so would a child
    flag, program, *rest = arguments
    sys.argv = [flag, *rest]
    if flag == "-m":
        runpy.run_module(program, run_name="__main__", alter_sys=True)
    else:
        exec(program, {"__name__": "__main__"})
