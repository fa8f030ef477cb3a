"""The contract of a launcher: it makes the runs of a sweep, somewhere."""

from __future__ import annotations

import math
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from ncbench.contracts import parameters
from ncbench.contracts.specs import ATTRIBUTE, Scalar, format_scalar

if TYPE_CHECKING:
    from filelock import FileLock

LAUNCH_FOLDER = ".launch"
"""What launchers keep in an output folder."""
_ASK_AGAIN_SECONDS = 0.5


@dataclass(frozen=True)
class Job:
    """One run that is still to be made.

    Args:
        run_id: Identifier of the run, and name of its folder.
        method: Spec; of a way to infer groups if `infers`.
        dataset: Spec.
        backbone: Spec, or None for the published or the dataset's default.
        seed: The seed.
        settings: Changes to the recipe, by ``recipe.KEY``.
        anew: Whether what an earlier sweep left is discarded; otherwise its checkpoints are gone on from.
        allow_mismatch: Whether data that are not the released ones are gone on with.
        after: Ids of the runs it builds on. Those that are not among the jobs are there already.
        devices: How many devices, or processes on a CPU, it takes.
        groups: Spec of the way to infer the groups that the method trains on.
        infers: Whether it only infers groups, for other runs.
        search: What chose some of its settings, as JSON for the record; empty if they were given by hand.
    """

    run_id: str
    method: str
    dataset: str
    backbone: str | None
    seed: int
    settings: Mapping[str, Scalar]
    anew: bool = False
    allow_mismatch: bool = False
    after: tuple[str, ...] = ()
    devices: int = 1
    groups: str = ATTRIBUTE
    infers: bool = False
    search: str = ""

    @property
    def label(self) -> str:
        """The method's spec, with that of what infers its groups: ``"group_dro+eiil"``."""
        return self.method if self.groups == ATTRIBUTE else f"{self.method}+{self.groups}"

    def arguments(self, attempt: int = 0) -> list[str]:
        """Return the arguments of ``ncbench run`` that make this run, but for those that all jobs share.

        Args:
            attempt: How often the launcher has started it before: it goes on with what its own attempts left.
        """
        named = ["--groups", self.method, "--infer-only"] if self.infers else ["--method", self.method]
        named += ["--dataset", self.dataset] + (["--groups", self.groups] if self.groups != ATTRIBUTE else [])
        named += ["--backbone", self.backbone] if self.backbone else []
        settings = [part for key, value in self.settings.items() for part in ("--set", f"{key}={format_scalar(value)}")]
        mismatch = ["--allow-mismatch"] if self.allow_mismatch else []
        search = ["--search", self.search] if self.search else []
        devices = ["--devices", str(self.devices)] if self.devices > 1 else []
        start = "--force" if self.anew and attempt == 0 else "--resume"
        return [*named, "--seed", str(self.seed), *settings, *search, *mismatch, *devices, "--wait", start]


@dataclass(frozen=True)
class Waiting:
    """`job` has to wait for something else than its turn: `why` says for what, in the same words for all that do."""

    job: Job
    why: str


@dataclass(frozen=True)
class Started:
    """The run of `job` has begun, or begun again after its `place` was lost: a node, a process, a device."""

    job: Job
    place: str = ""


@dataclass(frozen=True)
class Ended:
    """A job is over: its run has ended and is not started again, or cannot be made.

    Args:
        job: The job.
        exit_code: Of ``ncbench run``; negative for the number of the signal that ended it.
        message: The last line it wrote to standard error; empty if none.
    """

    job: Job
    exit_code: int
    message: str

    @classmethod
    def without(cls, job: Job, base: str) -> Ended:
        """Return the end of a job that was never started, since the run of this id that it builds on failed."""
        return cls(job, 1, f"It builds on {base}, which is not completed.")


Event = Waiting | Started | Ended


class JobQueue:
    """The `jobs` that are still to be started, in their order, each once the runs that it builds on are completed.

    Args:
        jobs: They.
        output: Folder of the run folders, for sweeps that share it to share the work: a job is claimed when it is taken
            out, by a lock that is held until it has ended, or this process; None if no other sweep makes these runs.
    """

    def __init__(self, jobs: Sequence[Job], output: Path | None = None) -> None:
        self._claims = None if output is None else _Claims(output)
        self._waiting = {job.run_id: job for job in jobs}
        self._open = set(self._waiting)  # not ended with 0 yet

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def blocked(self) -> list[Job]:
        """Return the jobs that cannot start yet."""
        return [job for job in self._waiting.values() if self._open.intersection(job.after)]

    def next(self) -> Job | None:
        """Take out the first job that can start and no other sweep has claimed, if there is one now."""
        for job in self._waiting.values():
            if not self._open.intersection(job.after) and (self._claims is None or self._claims.take(job)):
                del self._waiting[job.run_id]
                return job if self._claims is None else self._claims.as_it_stands(job)
        return None

    def ended(self, end: Ended) -> Iterator[Ended]:
        """Take note that a job is over; yield its end, and those of all jobs that cannot be made without it."""
        if self._claims is not None:
            self._claims.release(end.job)
        yield end
        if end.exit_code == 0:
            self._open.discard(end.job.run_id)
            return
        for job in self.blocked():
            if end.job.run_id in job.after and job.run_id in self._waiting:
                del self._waiting[job.run_id]
                yield from self.ended(Ended.without(job, end.job.run_id))


class _Claims:
    """Which jobs this sweep makes, of those in an output folder that several may make."""

    def __init__(self, output: Path) -> None:
        self._output = output
        self._began = time.time()
        self._held: dict[str, FileLock] = {}
        self._refused: dict[str, float] = {}  # when each was last found to be another's

    def take(self, job: Job) -> bool:
        """Claim a job, unless another sweep makes it; one that does is asked again after a while."""
        from filelock import FileLock, Timeout  # here, since no card of a launcher needs it

        if time.monotonic() < self._refused.get(job.run_id, -math.inf) + _ASK_AGAIN_SECONDS:
            return False
        folder = self._output / LAUNCH_FOLDER
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / f"{job.run_id}.claim")
        try:
            lock.acquire(blocking=False)
        except Timeout:
            self._refused[job.run_id] = time.monotonic()
            return False
        self._held[job.run_id] = lock
        return True

    def as_it_stands(self, job: Job) -> Job:
        """Return a job so that what another sweep has made of it in the meantime is not discarded."""
        record = self._output / job.run_id / "result.json"
        made = record.exists() and record.stat().st_mtime > self._began
        return replace(job, anew=job.anew and not made)

    def release(self, job: Job) -> None:
        """Give up a claim, if there is one."""
        if lock := self._held.pop(job.run_id, None):
            lock.release()


class Launcher:
    """Makes runs, several at a time.

    No result and no run id depends on the launcher or on its parameters.

    Args:
        params: Validated parameters.

    Raises:
        ConfigurationError: What the parameters ask for is not there.
    """

    class Parameters(parameters.Parameters):
        """What every launcher can be told; a subclass adds its own."""

        workers: int = Field(0, ge=0, description="runs at a time; 0: as many as the launcher finds fitting")
        device: str = Field("auto", description="what a run trains on: auto, cpu, cuda, cuda:1, ...")

    detaches = False
    """Whether runs can be handed in to something that makes them without this process; then there is `hand_in`."""

    def __init__(self, params: Any) -> None:
        self.params = params

    def hand_in(self, jobs: Sequence[Job], output: Path, arguments: Sequence[str]) -> None:
        """Hand every run in and return, while they wait or run; of a launcher that `detaches`.

        What an earlier call has handed in and is not over is not handed in again. A later :meth:`launch` of the same
        jobs takes it up: it tells of it, and ends it when it is closed early, as of what it hands in itself.

        Args:
            jobs: As for :meth:`launch`.
            output: Likewise.
            arguments: Likewise.
        """
        raise NotImplementedError

    def launch(self, jobs: Sequence[Job], output: Path, arguments: Sequence[str]) -> Generator[Event, None, None]:
        """Make every run, and tell when one waits, starts and ends. Each job ends exactly once.

        A run that fails ends with its exit code and the others go on, but for those that build on it: a job starts when
        all runs in its `after` have ended with 0, and ends at once, as :meth:`Ended.without`, when one has not;
        :class:`JobQueue` sees to that. When the generator is closed early, runs that are under way are interrupted in a
        way that lets them be resumed, before `close` returns.

        Args:
            jobs: The runs, in the order to start them in; a run comes before those that build on it.
            output: Folder of the run folders, absolute. A launcher whose runs are elsewhere may keep files of its own
                in ``.launch``, since all runs have to see this folder.
            arguments: Further arguments of ``ncbench run`` that all jobs share, ``--output`` among them. Their paths
                are absolute: a run may start in any folder.
        """
        raise NotImplementedError
