"""One run on several devices of this machine: the command is started once for each, and watched until all have ended.

torch's own launcher has to import torch first, and kills a run 30 seconds after Ctrl-C, in the middle of an epoch.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from typing import BinaryIO

from ncbench.cli.terminal import tell
from ncbench.training.devices.place import LOST, RENDEZVOUS
from ncbench.training.interrupts import LIFELINE, TERMINATING, handled

_POLL_SECONDS = 0.1
_GRACE_SECONDS = 30.0  # from the end of one process to SIGTERM for the others, and from that to SIGKILL


def run_on_devices(devices: int) -> int:
    """Start this process's own command for each device, and return the exit code of the first.

    Signals that come are handed on to all. When one of them dies, the others end too.
    """
    heard: list[int] = []

    def hear(number: int, frame: FrameType | None) -> None:
        heard.append(number)

    with (
        handled([*TERMINATING, signal.SIGINT], hear),
        tempfile.TemporaryDirectory(prefix="ncbench-") as folder,
        contextlib.ExitStack() as opened,
    ):
        processes = [
            opened.enter_context(_Process(index, devices, Path(folder) / "rendezvous")) for index in range(devices)
        ]
        return _end_of(processes, heard)


class _Process:
    """One process of the run; killed, if it is still there, when the context is left."""

    def __init__(self, index: int, devices: int, rendezvous: Path) -> None:
        self.index = index
        self.errors: BinaryIO = tempfile.TemporaryFile()  # noqa: SIM115 (closed with the context)
        # In a session of its own it does not hear the terminal's Ctrl-C, which would reach it a second time from here.
        self.child = subprocess.Popen(  # noqa: S603 (our own command, no shell)
            [sys.executable, "-P", "-m", "ncbench", *sys.argv[1:]],
            stdin=subprocess.PIPE,  # nothing is written to it: it ends when this process does, even by a kill -9
            stdout=subprocess.DEVNULL if index else None,
            stderr=self.errors if index else None,
            env={**_environment(devices), **_of(index, devices, rendezvous)},
            start_new_session=True,
        )

    def __enter__(self) -> _Process:
        return self

    def __exit__(self, *error: object) -> None:
        self.child.kill()
        self.child.wait()
        assert self.child.stdin is not None
        self.child.stdin.close()
        self.errors.close()

    def how_it_ended(self, devices: int) -> str:
        """Return a sentence on its end, which was not that of the run."""
        code = self.child.returncode
        if code < 0:
            how = f"was ended by signal {-code} ({signal.strsignal(-code)})"
        else:
            self.errors.seek(0)
            lines = [line.decode(errors="replace").strip() for line in self.errors if line.strip()]
            how = f"ended with exit code {code}{': ' + lines[-1].removeprefix('Error: ') if lines else ''}"
        return f"Process {self.index + 1} of {devices} {how.rstrip('.')}."


def _of(index: int, devices: int, rendezvous: Path) -> Mapping[str, str]:
    places = {"RANK": index, "LOCAL_RANK": index, "WORLD_SIZE": devices, "LOCAL_WORLD_SIZE": devices}
    return {**{name: str(value) for name, value in places.items()}, RENDEZVOUS: rendezvous.as_uri(), LIFELINE: "1"}


def _environment(devices: int) -> dict[str, str]:
    """Return the variables that all have in common: a share of the cores, and no way to them from elsewhere."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    found = {"OMP_NUM_THREADS": str(max(1, cores // devices)), **os.environ}
    loopback = [name for _, name in socket.if_nameindex() if name in ("lo", "lo0")]
    return {"GLOO_SOCKET_IFNAME": loopback[0], **found} if loopback else found


def _end_of(processes: list[_Process], heard: list[int]) -> int:
    """Wait until all have ended, and return the exit code of the run."""
    died: _Process | None = None  # first, and not because another one had
    interrupted, since, sent = False, 0.0, 0
    running = list(processes)
    while running:
        for number in heard[:]:
            heard.remove(number)
            interrupted = True
            for process in running:
                process.child.send_signal(number)
        for process in running[:]:
            code = process.child.poll()
            if code is None:
                continue
            running.remove(process)
            if code not in (0, LOST) and died is None and not sent:
                died = process
            if code != 0 or process.index == 0:
                since = since or time.monotonic()
        if since and time.monotonic() - since > _GRACE_SECONDS * (sent + 1) and sent < 2:
            for process in running:
                process.child.send_signal(signal.SIGKILL if sent else signal.SIGTERM)
            sent += 1
        time.sleep(_POLL_SECONDS)
    code = processes[0].child.returncode
    if code >= 0 and code != LOST:
        return code
    if interrupted:
        return 130
    if died is not None:
        tell(f"Error: {died.how_it_ended(len(processes))} --resume goes on with the run.")
    return 1
