"""Runs as processes on this machine."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ncbench import Ended, Job, JobQueue, Launcher, Started, Waiting, find_device, free_memory
from ncbench.contracts.launcher import Event

POLL_SECONDS = 0.1
GRACE_SECONDS = 60  # in which an interrupted run writes its record
BYTES_A_RUN = 2 * 2**30  # what a process with torch and a small dataset takes, with room


@dataclass
class _Process:
    job: Job
    slot: int
    process: subprocess.Popen[bytes]

    def __post_init__(self) -> None:
        self._last_line = deque[bytes](maxlen=1)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        with self.process.stderr as errors:
            self._last_line.extend(line for line in errors if line.strip())

    def ended(self) -> Ended:
        self.forget()
        line = b"".join(self._last_line).decode(errors="replace").strip()
        return Ended(self.job, self.process.returncode, line)

    def forget(self) -> None:
        """Let go of what was kept for a process that is over."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self._reader.join(1)  # it may have left a process behind that could still write


class Local(Launcher):
    """One process a run, so that a run that crashes or is killed takes no other with it.

    Left to decide, it makes one run at a time on every GPU or, without GPUs, as many as the machine has cores, but no
    more than fit into the free memory at 2 GiB each. The cores are shared out evenly between the runs (OMP_NUM_THREADS,
    unless it is set). Several runs on one GPU take turns on it: small nets gain by that, large ones may not fit.

    Raises:
        ConfigurationError: There is no such device on this machine.
    """

    def __init__(self, params: Any) -> None:
        super().__init__(params)
        # Looked for once, before anything is prepared, instead of by every run.
        device = find_device(params.device)
        every = params.device == "auto" and device.type == "cuda"
        self.devices = [f"cuda:{index}" for index in range(torch.cuda.device_count())] if every else [str(device)]

    def launch(self, jobs: Sequence[Job], output: Path, arguments: Sequence[str]) -> Generator[Event, None, None]:
        """Make the runs; see :meth:`ncbench.Launcher.launch`."""
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        workers = max(1, min(self.params.workers or self._fitting(cores), len(jobs)))
        environment = {"OMP_NUM_THREADS": str(max(1, cores // workers)), **os.environ}
        queue, running = JobQueue(jobs), list[_Process]()
        yield from (Waiting(job, "runs that others build on come first") for job in queue.blocked())
        try:
            while queue or running:
                while len(running) < workers and (job := queue.next()):
                    slot = min(set(range(workers)) - {other.slot for other in running})
                    device = self.devices[slot % len(self.devices)]
                    process = self._start(job, slot, device, arguments, environment)
                    running.append(process)
                    yield Started(job, f"process {process.process.pid} on {device}")
                time.sleep(POLL_SECONDS)
                for process in [process for process in running if process.process.poll() is not None]:
                    running.remove(process)
                    yield from queue.ended(process.ended())
        finally:
            _interrupt(running)

    def _fitting(self, cores: int) -> int:
        if self.devices[0].startswith("cuda"):
            return len(self.devices)
        return min(cores, free_memory(torch.device("cpu")) // BYTES_A_RUN)

    def _start(
        self, job: Job, slot: int, device: str, arguments: Sequence[str], environment: dict[str, str]
    ) -> _Process:
        # -P: a folder the user happens to stand in must not shadow an import.
        command = [sys.executable, "-P", "-m", "ncbench", "run", *job.arguments(), *arguments]
        # In a session of its own a run does not hear the terminal's Ctrl-C, which would reach it a second time from us.
        process = subprocess.Popen(  # noqa: S603 (our own command, no shell)
            [*command, "--device", device, "--quiet"],
            stdin=subprocess.PIPE,  # nothing is written to it: it ends when this process does, even by a kill -9
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env={**environment, "NCBENCH_LIFELINE": "1"},
            start_new_session=True,
        )
        return _Process(job, slot, process)


def _interrupt(running: Sequence[_Process]) -> None:
    """End runs so that they can be resumed, and wait until they are gone."""
    for process in running:
        process.process.terminate()
    deadline = time.monotonic() + GRACE_SECONDS
    try:
        for process in running:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.process.wait(max(0.0, deadline - time.monotonic()))
    finally:  # also when a second Ctrl-C ends the waiting: no run outlives the sweep
        for process in running:
            process.process.kill()
            process.process.wait()
            process.forget()
