"""The launcher that makes runs on the nodes of a Ray cluster."""

from __future__ import annotations

import contextlib
import importlib
import os
import secrets
import shutil
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from ncbench import ConfigurationError, Ended, Job, JobQueue, Launcher, Started, Waiting
from ncbench.contracts.launcher import LAUNCH_FOLDER, Event
from ncbench_launchers.ray.cluster import Head, connected, require_ray
from ncbench_launchers.ray.node import Attempt, Demands
from ncbench_launchers.shared import versions, write_probe

POLL_SECONDS = 0.2
GRACE_SECONDS = 60  # in which an interrupted run writes its record
_KILL_SECONDS = 10  # until Ray has killed what it was told to kill
_ASK_SECONDS = 180  # for a node to say what it lacks: it starts a Python for that, and may wait for a network's folder
_PASSED_ON = ("NCBENCH_", "OMP_NUM_THREADS")  # of the sweep's variables; all others are the node's
_AHEAD = 8  # runs that wait for room on a node; an autoscaler sees them, and other sweeps may make the rest


class Ray(Launcher):
    """One actor a run, which starts it as a process of its node.

    A run whose node or worker is lost starts again elsewhere, from its newest checkpoint.

    Raises:
        ConfigurationError: Ray is not installed, or a parameter makes no sense.
    """

    class Parameters(Launcher.Parameters):
        """Which cluster, and what a run takes of it."""

        address: str = Field("", description="HOST:PORT of the cluster; auto: this machine's; empty: one of its own")
        cpus: float = Field(1.0, ge=0, description="CPUs of a run, for each of its devices")
        gpus: float | None = Field(
            None, ge=0, description="GPUs likewise, 0.25 for four runs on each; null: 1 where the cluster has any"
        )
        memory_gb: float = Field(0.0, ge=0, description="memory of a run in GiB, for Ray to count; 0: it does not")
        retries: int = Field(3, ge=0, description="how often a run starts again whose node or worker was lost")

    def __init__(self, params: Any) -> None:
        super().__init__(params)
        if params.gpus is not None and params.gpus > 1 and not params.gpus.is_integer():
            raise ConfigurationError(f"gpus={params.gpus:g} is neither a share of one GPU nor a whole number of them.")
        self._ray = require_ray(params.address)

    def launch(self, jobs: Sequence[Job], output: Path, arguments: Sequence[str]) -> Generator[Event, None, None]:
        """Make the runs; see :meth:`ncbench.Launcher.launch`."""
        if not jobs:
            return
        folder = output / LAUNCH_FOLDER / f"ray-{secrets.token_hex(4)}"
        folder.mkdir(parents=True)
        try:
            with connected(self._ray, self.params.address, folder.with_name("ray.log")):
                yield from self._made(jobs, output, arguments, Demands(folder, write_probe(folder), versions()))
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _made(
        self, jobs: Sequence[Job], output: Path, arguments: Sequence[str], demands: Demands
    ) -> Generator[Event, None, None]:
        """Make the runs on the cluster that this process is connected to."""
        resources = self._resources(max(job.devices for job in jobs))
        fitting = self._fitting_nodes(resources)
        self._refuse_lacking(fitting, demands)
        given = {name: value for name, value in os.environ.items() if name.startswith(_PASSED_ON)}
        environment = {"OMP_NUM_THREADS": str(max(1, int(self.params.cpus)))} | given
        actor = self._ray.remote(Attempt).options(**resources, max_restarts=0)

        def attempt(job: Job, number: int) -> Any:
            options = [*job.arguments(number), *arguments, "--device", self.params.device, "--quiet"]
            return actor.remote(demands, options, environment)

        queue, followed = JobQueue(jobs, output), list[_Followed]()
        head = Head(self._ray.get_runtime_context().gcs_address)
        yield from (Waiting(job, "runs that others build on come first") for job in queue.blocked())
        try:
            while queue or followed:
                while self._room(followed) and (job := queue.next()):
                    followed.append(_Followed(self._ray, job, attempt, self.params.retries))
                    fitting = fitting or self._fitting_nodes(resources)
                    if not fitting:
                        yield Waiting(job, f"no node of the cluster has {_described(resources)} for a run yet")
                time.sleep(POLL_SECONDS)
                head.check()
                for each in list(followed):
                    for event in each.look():
                        if isinstance(event, Ended):
                            followed.remove(each)
                            yield from queue.ended(event)
                        else:
                            yield event
        finally:
            self._close(followed)

    def _room(self, followed: Sequence[_Followed]) -> bool:
        """Whether another run may be handed to Ray."""
        waiting = sum(each.waits for each in followed)
        return waiting < _AHEAD and not 0 < self.params.workers <= len(followed)

    def _resources(self, devices: int) -> dict[str, float]:
        """Return what a run on so many devices takes, as Ray calls it."""
        gpus = self.params.gpus
        if gpus is None:
            gpus = float(self.params.device != "cpu" and self._ray.cluster_resources().get("GPU", 0) > 0)
        memory = int(self.params.memory_gb * 2**30)
        return {"num_cpus": self.params.cpus * devices, "num_gpus": gpus * devices, "memory": memory}

    def _fitting_nodes(self, resources: Mapping[str, float]) -> list[Mapping[str, Any]]:
        """Return the nodes that can take a run, when nothing else is on them.

        Raises:
            ConfigurationError: There are none, and none will join.
        """
        wanted = {"CPU": resources["num_cpus"], "GPU": resources["num_gpus"], "memory": resources["memory"]}
        fitting = [
            node
            for node in self._ray.nodes()
            if node["Alive"] and all(node["Resources"].get(name, 0) >= number for name, number in wanted.items())
        ]
        if not fitting and not self.params.address:
            raise ConfigurationError(f"This machine has not {_described(resources)} for a run; ask for less.")
        return fitting

    def _refuse_lacking(self, nodes: Sequence[Mapping[str, Any]], demands: Demands) -> None:
        """Refuse nodes of other versions, and those that do not see the output folder.

        Raises:
            ConfigurationError: There is one.
        """
        affinity = importlib.import_module("ray.util.scheduling_strategies").NodeAffinitySchedulingStrategy
        ask = self._ray.remote(Demands.lacking)
        on_each = (affinity(node["NodeID"], soft=False) for node in nodes)
        answers = [
            ask.options(num_cpus=0, max_retries=0, scheduling_strategy=on_it).remote(demands) for on_it in on_each
        ]
        for node, answer in zip(nodes, answers, strict=True):
            try:
                problem = self._ray.get(answer, timeout=_ASK_SECONDS)
            except self._ray.exceptions.RayError as error:
                name = node["NodeManagerHostname"]
                problem = f"{name} cannot make runs ({_line(error)}); install ncbench there, as where the sweep is."
            if problem:
                raise ConfigurationError(problem)

    def _close(self, followed: Sequence[_Followed]) -> None:
        """End runs so that they can be resumed, and wait until they are gone."""
        if not followed:
            return
        try:
            for each in followed:
                each.interrupt()
            self._wait([each for each in followed if not each.waits], GRACE_SECONDS)
        finally:  # also when a second Ctrl-C ends the waiting: no run outlives the sweep
            for each in followed:
                each.kill()
            self._wait(followed, _KILL_SECONDS)

    def _wait(self, followed: Sequence[_Followed], seconds: float) -> None:
        """Wait until attempts have ended."""
        if ends := [each.end for each in followed]:
            self._ray.wait(ends, num_returns=len(ends), timeout=seconds)


class _Followed:
    """A run that was handed to Ray.

    Args:
        ray: The module.
        job: What it is of.
        attempt: Makes an actor for an attempt of this number.
        retries: How many attempts may follow the first.

    Attributes:
        waits: Whether its actor has no place yet.
        end: What will be the attempt's exit code and last line.
    """

    def __init__(self, ray: Any, job: Job, attempt: Callable[[Job, int], Any], retries: int) -> None:
        self._ray = ray
        self._job = job
        self._attempt = attempt
        self._retries = retries
        self._lost = 0
        self._begin()

    def _begin(self) -> None:
        self._actor = self._attempt(self._job, self._lost)
        self._place, self.end = self._actor.place.remote(), self._actor.end.remote()
        self.waits = True

    def look(self) -> Iterator[Event]:
        """Yield what has happened."""
        if self.waits and self._is_there(self._place):
            self.waits = False
            with contextlib.suppress(self._ray.exceptions.RayError):  # its end says the same
                if place := self._ray.get(self._place):
                    yield Started(self._job, place)
        if self._is_there(self.end):
            yield self._ended()

    def interrupt(self) -> None:
        """Ask the run to end so that it can be resumed; nothing of one that waits is lost if it does not begin."""
        if self.waits:
            self.kill()
        else:
            self._actor.interrupt.remote()

    def kill(self) -> None:
        """End the actor, and with it the run."""
        self._ray.kill(self._actor)

    def _is_there(self, answer: Any) -> bool:
        return bool(self._ray.wait([answer], timeout=0)[0])

    def _ended(self) -> Waiting | Ended:
        try:
            return Ended(self._job, *self._ray.get(self.end))
        except self._ray.exceptions.RayActorError as error:
            if error.actor_init_failed:
                return Ended(self._job, 1, _line(error))
            self.kill()  # it may only be out of reach
            self._lost += 1
            if self._lost > self._retries:
                return Ended(self._job, 1, f"Its node or worker was lost, {self._lost} times; the last: {_line(error)}")
            self._begin()
            return Waiting(self._job, "nodes or workers were lost, and what they made starts again elsewhere")
        except self._ray.exceptions.RayError as error:
            return Ended(self._job, 1, _line(error))


def _described(resources: Mapping[str, float]) -> str:
    """Return what a run takes, in words."""
    parts = {"CPUs": resources["num_cpus"], "GPUs": resources["num_gpus"], "GiB": resources["memory"] / 2**30}
    return " and ".join(f"{number:g} {name}" for name, number in parts.items() if number)


def _line(error: Exception) -> str:
    """Return what Ray says in many lines in one."""
    return " ".join(str(error).split())
