"""Places on this machine where one run at a time is made, each in a process of its own."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from typing import BinaryIO

# -P: a folder the user happens to stand in must not shadow an import.
_PYTHON = (sys.executable, "-P", "-m")


class Place:
    """A place for runs, one after the other.

    Args:
        device: What they train on.
        environment: Their variables.

    Attributes:
        process: The number of the process that makes the run, once it is known; None before.
    """

    def __init__(self, device: str, environment: Mapping[str, str]) -> None:
        self.device = device
        self.process: int | None = None
        self._environment = {**environment, "NCBENCH_LIFELINE": "1"}
        self._child: subprocess.Popen[bytes] | None = None
        self._errors: BinaryIO

    def start(self, arguments: Sequence[str]) -> None:
        """Start ``ncbench run`` with these arguments; the run before it must have ended."""
        raise NotImplementedError

    def ended(self) -> tuple[int, str] | None:
        """Return how the run has ended, again and again: its exit code and the last line of its standard error."""
        raise NotImplementedError

    def interrupt(self) -> None:
        """Ask the run, if there is one, to end so that it can be resumed."""
        if self.process is not None and self.ended() is None:
            with contextlib.suppress(ProcessLookupError):  # it has ended just now
                os.kill(self.process, signal.SIGTERM)

    def close(self) -> None:
        """Kill what is left."""
        if self._child is not None:
            self._child.kill()
            self._child.wait()
            assert self._child.stdin is not None
            self._child.stdin.close()
            self._errors.close()

    def _open(self, *command: str, descriptors: Sequence[int] = ()) -> None:
        # In a session of its own it does not hear the terminal's Ctrl-C, which would reach a run a second time from us.
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 (closed by `close`)
        self._child = subprocess.Popen(  # noqa: S603 (our own command, no shell)
            [*_PYTHON, *command],
            stdin=subprocess.PIPE,  # nothing is written to it: it ends when this process does, even by a kill -9
            stdout=subprocess.DEVNULL,
            stderr=self._errors,
            env=self._environment,
            start_new_session=True,
            pass_fds=descriptors,
        )

    def _child_ended(self) -> tuple[int, str] | None:
        if self._child is None or self._child.poll() is None:
            return None
        self._errors.seek(0)
        lines = [line for line in self._errors if line.strip()]
        return self._child.returncode, lines[-1].decode(errors="replace").strip() if lines else ""


class New(Place):
    """Every run is made by a Python that is started for it, as anywhere but on Linux."""

    _command: Sequence[str] = ("ncbench", "run")

    def start(self, arguments: Sequence[str]) -> None:
        """Start the run."""
        self.close()
        self._open(*self._command, *arguments)
        assert self._child is not None
        self.process = self._child.pid

    def ended(self) -> tuple[int, str] | None:
        """Return how the process has ended."""
        return self._child_ended()


class Forked(Place):
    """Runs are forked from a worker that has imported torch and the plugins: see ``ncbench/cli/worker.py``."""

    _channel: socket.socket | None = None  # to the worker; None where there is none

    def start(self, arguments: Sequence[str]) -> None:
        """Ask the worker for the run; it is started first where there is none or it was killed."""
        self.process, self._end, self._received = None, None, b""
        if self._channel is None:
            self.close()
            self._channel, other = socket.socketpair()
            with other:
                self._open("ncbench.cli.worker", str(other.fileno()), descriptors=[other.fileno()])
        with contextlib.suppress(OSError):  # it was killed: the answer is its end
            self._channel.sendall(f"{json.dumps(list(arguments))}\n".encode())

    def ended(self) -> tuple[int, str] | None:
        """Return what the worker says of the run's end or, if it has ended itself, how."""
        while self._end is None and self._channel is not None:
            try:
                block = self._channel.recv(1 << 16, socket.MSG_DONTWAIT)
            except BlockingIOError:
                break
            except ConnectionError:
                block = b""
            if not block:
                self._channel.close()
                self._channel = None
            self._received += block
            process, *end = self._received.split(b"\n")
            if end:
                self.process = int(process)
            if len(end) > 1:
                code, line = json.loads(end[0])
                self._end = code, line
        if self._end is None and self._channel is None:
            self._end = self._child_ended()
        return self._end

    def close(self) -> None:
        """Kill the worker, and with it its run."""
        if self._channel is not None:
            self._channel.close()
            self._channel = None
        super().close()

    _end: tuple[int, str] | None = None
    _received = b""
