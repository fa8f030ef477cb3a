"""The launcher that hands runs in to Slurm."""

from __future__ import annotations

import math
import shlex
import time
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock
from pydantic import Field

from ncbench import ConfigurationError, Ended, Job, JobQueue, Launcher, Started, Waiting
from ncbench.contracts.launcher import LAUNCH_FOLDER, Event
from ncbench_launchers.shared import CACHE_SECONDS
from ncbench_launchers.slurm.array import Array, Element, earlier_arrays, hand_in
from ncbench_launchers.slurm.commands import SlurmError, State, cancel, last_state, require_slurm, states

POLL_SECONDS = 5.0
_INTERRUPTED = 130
_MAY_RETURN = frozenset({"NODE_FAIL", "PREEMPTED"})  # states that it may pass through while it is requeued
_EARLY_SECONDS = 60  # by which Slurm's signal may come before its time


class Slurm(Launcher):
    """One element of a job array a run.

    Slurm is told everything at once: a run that builds on others has a job that depends on theirs. So the sweep may be
    left, and taken up again. A run that is cut off by the time limit, by preemption or with its node goes on from its
    newest checkpoint in the next attempt.

    Raises:
        ConfigurationError: There is no Slurm here, it does not answer or has no such partition; or a parameter makes no
            sense.
    """

    class Parameters(Launcher.Parameters):
        """What a job asks for."""

        partition: str = Field("", description="where jobs are handed in; empty: Slurm's default")
        account: str = Field("", description="what is charged; empty: your default")
        qos: str = Field("", description="quality of service; empty: your default")
        hours: float = Field(0.0, ge=0, description="time limit, after which a run is requeued; 0: the partition's")
        gpus: int = Field(0, ge=0, description="GPUs of a run, for each of its devices")
        cpus: int = Field(0, ge=0, description="CPUs likewise; 0: Slurm's default")
        memory_gb: float = Field(0.0, ge=0, description="memory of a run in GiB; 0: Slurm's default")
        grace: int = Field(120, ge=30, description="seconds before the time limit in which a run writes its checkpoint")
        setup: str = Field("", description="file of shell lines to start with; the run takes its python from them")
        extra: str = Field("", description="further options of sbatch, as they are")

    detaches = True

    def __init__(self, params: Any) -> None:
        super().__init__(params)
        least = (params.grace + _EARLY_SECONDS) / 3600
        if 0 < params.hours <= least:
            raise ConfigurationError(
                f"hours={params.hours:g} leaves no time to train: runs are told to end {params.grace} s before the "
                f"limit, or a minute earlier. Give more than {least:.2g}."
            )
        self._setup = ""
        if params.setup:
            try:
                self._setup = Path(params.setup).expanduser().read_text(encoding="utf-8")
            except OSError as error:
                raise ConfigurationError(f"setup={params.setup} cannot be read ({error.strerror}).") from error
        try:
            self._extra = shlex.split(params.extra)
        except ValueError as error:
            raise ConfigurationError(f"extra={params.extra!r} cannot be split into options: {error}.") from error
        self._largest_array = require_slurm(params.partition)

    def hand_in(self, jobs: Sequence[Job], output: Path, arguments: Sequence[str]) -> None:
        """Hand the runs in; see :meth:`ncbench.Launcher.hand_in`."""
        self._placed(jobs, output, arguments)

    def launch(self, jobs: Sequence[Job], output: Path, arguments: Sequence[str]) -> Generator[Event, None, None]:
        """Make the runs; see :meth:`ncbench.Launcher.launch`."""
        queue, open_runs = JobQueue(jobs), {job.run_id for job in jobs}
        try:
            placed = self._placed(jobs, output, arguments)
            following = {job.run_id: _Followed(job, placed[job.run_id], output) for job in jobs}
            arrays = {element.array for element in placed.values()}
            while open_runs:
                try:
                    found = states(arrays)
                except SlurmError as error:
                    yield from (following[run_id].lose_sight(str(error)) for run_id in open_runs)
                else:
                    for run_id, each in following.items():
                        # One of them may end another, which builds on it.
                        for event in each.look(found.get(each.element.name)) if run_id in open_runs else ():
                            for told in queue.ended(event) if isinstance(event, Ended) else [event]:
                                if isinstance(told, Ended):
                                    open_runs.discard(told.job.run_id)
                                yield told
                if open_runs:
                    time.sleep(POLL_SECONDS)
        finally:
            if open_runs:
                self._close(output, open_runs)
        for array in earlier_arrays(output):
            array.remove_if_done()

    def _placed(self, jobs: Sequence[Job], output: Path, arguments: Sequence[str]) -> dict[str, Element]:
        """Return the element of every run: of an array that Slurm has still, or of one that is handed in."""
        if not jobs:
            return {}
        (output / LAUNCH_FOLDER).mkdir(parents=True, exist_ok=True)
        with FileLock(output / LAUNCH_FOLDER / "slurm.lock"):  # two sweeps must not hand in the same runs
            placed = _still_there(output)
            wanted = {job.run_id for job in jobs}
            rest = [job for job in jobs if job.run_id not in placed]
            while rest:
                ready: dict[tuple[str, ...], list[Job]] = {}  # elements that have to end well -> runs
                for job in rest:
                    if all(base in placed for base in job.after if base in wanted):
                        bases = sorted(placed[base].name for base in job.after if base in wanted)
                        ready.setdefault(tuple(bases), []).append(job)
                for needed, group in ready.items():
                    for start in range(0, len(group), self._largest_array):
                        some = group[start : start + self._largest_array]
                        placed |= self._array(some, needed, output, arguments).elements()
                rest = [job for job in rest if job.run_id not in placed]
        return {run_id: element for run_id, element in placed.items() if run_id in wanted}

    def _array(self, jobs: Sequence[Job], bases: Sequence[str], output: Path, arguments: Sequence[str]) -> Array:
        """Hand in an array of runs that start when all `bases` have ended with 0."""
        at_once = f"%{self.params.workers}" if self.params.workers else ""
        devices = max(job.devices for job in jobs)
        options = [f"--array=0-{len(jobs) - 1}{at_once}", *self._asked_for(devices)]
        if bases:
            options.append(f"--dependency=afterok:{':'.join(bases)}")
        return hand_in(
            jobs,
            output,
            [*arguments, "--device", self.params.device, "--quiet"],
            grace=self.params.grace,
            setup=self._setup,
            devices=devices,
            options=options,
            step_options=[f"--cpus-per-task={self.params.cpus * devices}"] if self.params.cpus else [],
        )

    def _asked_for(self, devices: int) -> Iterator[str]:
        """Yield what `sbatch` is told of the resources of a run on so many devices."""
        params = self.params
        for key in ("partition", "account", "qos"):
            if value := getattr(params, key):
                yield f"--{key}={value}"
        if params.hours:
            yield f"--time={math.ceil(params.hours * 60)}"
        if params.gpus:
            yield f"--gres=gpu:{params.gpus * devices}"
        if params.cpus:
            yield f"--cpus-per-task={params.cpus * devices}"
        if params.memory_gb:
            yield f"--mem={math.ceil(params.memory_gb * 1024)}M"
        yield from self._extra

    def _close(self, output: Path, runs: set[str]) -> None:
        """End runs so that they can be resumed, and wait until Slurm has let go of them."""
        arrays = earlier_arrays(output)
        names = {element.name for array in arrays for run_id, element in array.elements().items() if run_id in runs}

        def left() -> list[str]:
            found = states(array.key for array in arrays)
            return [name for name, state in found.items() if name in names and not state.over]

        try:
            try:
                cancel(left(), "--state=PENDING")
                cancel(left(), "--signal=INT")
                deadline = time.monotonic() + self.params.grace
                while left() and time.monotonic() < deadline:
                    time.sleep(1)
            finally:  # also when a second Ctrl-C ends the waiting
                cancel(left())
        except SlurmError as error:
            numbers = " ".join(sorted({name.partition("_")[0] for name in names}))
            raise ConfigurationError(f"{error} Its jobs go on; to end them: scancel {numbers}") from error


def _still_there(output: Path) -> dict[str, Element]:
    """Return the elements of earlier arrays that wait or run, by the ids of their runs."""
    arrays = earlier_arrays(output)
    found = states(array.key for array in arrays)
    there: dict[str, Element] = {}
    for array in arrays:
        array.remove_if_done()
        for run_id, element in array.elements().items():
            state, end = found.get(element.name), element.end()
            if state is not None and not state.over and (end is None or end[0] == _INTERRUPTED):
                there[run_id] = element
    return there


class _Followed:
    """A run that Slurm has, as it was last seen."""

    def __init__(self, job: Job, element: Element, output: Path) -> None:
        self.job = job
        self.element = element
        self._output = output
        self._before: State | None = None
        self._gone: float | None = None  # since when Slurm does not make it, without a word of its end

    def lose_sight(self, why: str) -> Waiting:
        """Return that nothing is known of it now; what :meth:`look` sees next is told anew."""
        self._before = None
        return Waiting(self.job, why.rstrip("."))

    def look(self, state: State | None) -> Iterator[Event]:
        """Yield what has happened, given what Slurm says now; None: it knows nothing of it any more."""
        before, self._before = self._before, state
        if state is not None and state.name == "PENDING":
            if state != before and state.reason not in ("", "None"):
                turn = f"for their turn in Slurm's queue ({state.reason})"
                yield Waiting(
                    self.job, "runs that others build on come first" if state.reason == "Dependency" else turn
                )
            return
        end = self.element.end()
        if state is not None and not state.over:
            self._gone = None
            if end is not None and end[0] != _INTERRUPTED:
                yield self._ended(*end)
            elif state.name == "RUNNING" and state != before:
                yield Started(self.job, f"{state.node}, job {self.element.name}")
            return
        self._gone = self._gone or time.monotonic()
        begun = state is None or bool(state.node)
        undecided = (begun and end is None) or (state is not None and state.name in _MAY_RETURN)
        if undecided and time.monotonic() < self._gone + CACHE_SECONDS:
            return
        yield self._ended(*end) if end else self._ended_by_slurm(state.name if state else last_state(self.element.name))

    def _ended(self, exit_code: int, message: str) -> Ended:
        if exit_code > 0 and not message:
            message = f"ended with exit code {exit_code}; its output: {self.element.log}"
        return Ended(self.job, exit_code, message)

    def _ended_by_slurm(self, state: str) -> Ended:
        """Return the end of a run that could not tell of it."""
        if state in ("CANCELLED", "COMPLETED"):
            return Ended(self.job, _INTERRUPTED if state == "CANCELLED" else 0, "")
        how = f"Slurm says {state}" if state else "Slurm has forgotten it"
        if not self.element.log.exists():
            advice = f"its node may not see {self._output}; name an --output that all nodes share"
            return Ended(self.job, 1, f"{how}, and there is no output: {advice}.")
        lines = self.element.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return Ended(self.job, 1, f"{how}: {lines[-1] if lines else 'no word'}; its output: {self.element.log}")
