"""Runs as processes on this machine."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from ncbench import Ended, Job, JobQueue, Launcher, Started, Waiting, find_device, free_memory
from ncbench.contracts.launcher import Event
from ncbench_launchers.processes import Forked, New, Place

KIND = Forked if sys.platform == "linux" else New
POLL_SECONDS = 0.02
GRACE_SECONDS = 60  # in which an interrupted run writes its record
BYTES_A_RUN = 2 * 2**30  # what a process with torch and a small dataset takes, with room


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
        devices = max((job.devices for job in jobs), default=1)
        workers = max(1, min(self.params.workers or self._fitting(cores) // devices, len(jobs)))
        environment = {"OMP_NUM_THREADS": str(max(1, cores // (workers * devices))), **os.environ}
        places = [KIND(*self._share(slot, devices, environment)) for slot in range(workers)]
        queue, running, told = JobQueue(jobs, output), dict[Place, Job](), set[Place]()
        yield from (Waiting(job, "runs that others build on come first") for job in queue.blocked())
        try:
            while queue or running:
                for place in places:
                    if place not in running and (job := queue.next()):
                        place.start([*job.arguments(), *arguments, "--device", place.device, "--quiet"])
                        running[place] = job
                time.sleep(POLL_SECONDS)
                for place, job in list(running.items()):
                    end = place.ended()
                    if place.process is not None and place not in told:
                        told.add(place)
                        yield Started(job, f"process {place.process} on {place.device}")
                    if end is not None:
                        del running[place]
                        told.discard(place)
                        yield from queue.ended(Ended(job, *end))
        finally:
            _interrupt(list(running), places)

    def _share(self, slot: int, devices: int, environment: Mapping[str, str]) -> tuple[str, Mapping[str, str]]:
        """Return what runs in a slot train on, and their variables, which show one of several devices no others."""
        if devices == 1 or len(self.devices) < devices:
            return self.devices[slot % len(self.devices)], environment
        first = slot % (len(self.devices) // devices) * devices
        visible = environment.get("CUDA_VISIBLE_DEVICES", "").split(",")
        here = visible if len(visible) == len(self.devices) else [str(index) for index in range(len(self.devices))]
        return "cuda", {**environment, "CUDA_VISIBLE_DEVICES": ",".join(here[first : first + devices])}

    def _fitting(self, cores: int) -> int:
        """Return how many devices there are or, without GPUs, how many processes the cores and the memory allow."""
        if self.devices[0].startswith("cuda"):
            return len(self.devices)
        return min(cores, free_memory(torch.device("cpu")) // BYTES_A_RUN)


def _interrupt(running: list[Place], places: Sequence[Place]) -> None:
    """End runs so that they can be resumed, and wait until they are gone."""
    deadline = time.monotonic() + GRACE_SECONDS
    try:
        for place in running:
            place.interrupt()
        while any(place.process is not None and place.ended() is None for place in running):
            if time.monotonic() > deadline:
                break
            time.sleep(POLL_SECONDS)
    finally:  # also when a second Ctrl-C ends the waiting: no run outlives the sweep
        for place in places:
            place.close()
