"""A job array of Slurm: the folder in which the launcher and the elements tell each other what they have to know."""

from __future__ import annotations

import datetime
import json
import secrets
import shlex
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ncbench import Job
from ncbench.contracts.launcher import LAUNCH_FOLDER
from ncbench_launchers.shared import versions, write_probe
from ncbench_launchers.slurm.commands import job_number, submit

JOBS_FILE = "jobs.json"
_ANSWER_FILE = "number"


@dataclass(frozen=True)
class Element:
    """An element of an array: a run, of which Slurm may make several attempts.

    Args:
        folder: Of the array.
        number: Slurm's number of the array.
        index: Its place in it.
    """

    folder: Path
    number: str
    index: int

    @property
    def name(self) -> str:
        """What Slurm calls it, ``NUMBER_INDEX``."""
        return f"{self.number}_{self.index}"

    @property
    def array(self) -> tuple[str, str]:
        """Number and name of the array, which together are no other's."""
        return self.number, _job_name(self.folder)

    @property
    def log(self) -> Path:
        """The output of all attempts."""
        return self.folder / f"{self.index}.log"

    def note_end(self, exit_code: int, message: str) -> None:
        """Say how the run has ended."""
        _write(self._end, json.dumps({"exit_code": exit_code, "message": message}))

    def end(self) -> tuple[int, str] | None:
        """Return exit code and message of the run's end, or of its attempt; None if it has not ended."""
        try:
            end = json.loads(self._end.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        return end["exit_code"], end["message"]

    def forget_end(self) -> None:
        """Remove what an attempt that was cut off has said."""
        self._end.unlink(missing_ok=True)

    def attempts(self) -> tuple[int, int]:
        """Return how many attempts have begun, and how many time limits in a row have brought the run no further."""
        path = self._attempts
        begun, in_vain = json.loads(path.read_text(encoding="utf-8")) if path.exists() else (0, 0)
        return begun, in_vain

    def note_attempts(self, begun: int, in_vain: int) -> None:
        """Say what :meth:`attempts` is to return."""
        _write(self._attempts, json.dumps([begun, in_vain]))

    @property
    def _attempts(self) -> Path:
        return self.folder / f"{self.index}.attempts"

    @property
    def _end(self) -> Path:
        return self.folder / f"{self.index}.end"


@dataclass(frozen=True)
class Array:
    """An array that was handed in.

    Args:
        folder: Its folder, in ``.launch``.
        number: Slurm's number of the job.
        run_ids: Of its elements, in their order.
    """

    folder: Path
    number: str
    run_ids: tuple[str, ...]

    @property
    def key(self) -> tuple[str, str]:
        """Number and name, which together are no other's."""
        return self.number, _job_name(self.folder)

    def elements(self) -> dict[str, Element]:
        """Return its elements by the ids of their runs."""
        return {run_id: Element(self.folder, self.number, index) for index, run_id in enumerate(self.run_ids)}

    def remove_if_done(self) -> None:
        """Remove the folder when all runs have ended with 0: nobody reads it any more."""
        if all((element.end() or (1, ""))[0] == 0 for element in self.elements().values()):
            shutil.rmtree(self.folder, ignore_errors=True)


def earlier_arrays(output: Path) -> list[Array]:
    """Return the arrays that were handed in for runs in an output folder and have a folder still."""
    found = []
    for jobs in sorted((output / LAUNCH_FOLDER).glob(f"slurm-*/{JOBS_FILE}")):
        if number := job_number(jobs.parent / _ANSWER_FILE):
            run_ids = tuple(job["run_id"] for job in json.loads(jobs.read_text(encoding="utf-8"))["jobs"])
            found.append(Array(jobs.parent, number, run_ids))
    return found


def hand_in(
    jobs: Sequence[Job],
    output: Path,
    arguments: Sequence[str],
    *,
    grace: int,
    setup: str,
    devices: int,
    options: Sequence[str],
    step_options: Sequence[str],
) -> Array:
    """Hand in an array.

    Args:
        jobs: Its runs.
        output: Folder of the run folders.
        arguments: Of ``ncbench run``, beside those of each job.
        grace: Seconds before the time limit in which a run is told.
        setup: Lines of a shell script to start with; empty for none.
        devices: Of a run.
        options: Of ``sbatch``.
        step_options: Of ``srun``.

    Raises:
        SlurmError: Slurm refuses it.
    """
    now = datetime.datetime.now(datetime.UTC)
    folder = output / LAUNCH_FOLDER / f"slurm-{now:%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"
    folder.mkdir(parents=True)
    content: dict[str, Any] = {
        "output": str(output),
        "grace": grace,
        "devices": devices,
        "versions": versions(),
        "jobs": [
            {"run_id": job.run_id, "first": [*job.arguments(), *arguments], "again": [*job.arguments(1), *arguments]}
            for job in jobs
        ],
    }
    _write(folder / JOBS_FILE, json.dumps(content, indent=1))
    # What `setup` has changed is used: its Python. Else it is the one that hands in.
    python = "python" if setup else shlex.quote(sys.executable)
    step = [*step_options, python, "-P", "-m", "ncbench_launchers.slurm.step"]
    word = write_probe(folder)
    script = folder / "script.sh"
    script.write_text(
        f"#!/bin/bash\n{setup}\nexec srun {' '.join(step)} {shlex.quote(str(folder))} {word}\n", encoding="utf-8"
    )
    common = [
        f"--job-name={_job_name(folder)}",
        f"--output={str(folder).replace('%', '%%')}/%a.log",
        "--open-mode=append",
        "--requeue",
        f"--signal=USR1@{grace}",
        "--nodes=1",
        "--ntasks=1",
        "--kill-on-invalid-dep=yes",
    ]
    try:
        number = submit([*common, *options], script, folder / _ANSWER_FILE)
    except BaseException:
        if not job_number(folder / _ANSWER_FILE):
            shutil.rmtree(folder, ignore_errors=True)
        raise
    return Array(folder, number, tuple(job.run_id for job in jobs))


def _job_name(folder: Path) -> str:
    return f"ncbench-{folder.name}"


def _write(path: Path, text: str) -> None:
    """Write a file that others read at any moment, whole or not at all."""
    beside = path.with_name(f"{path.name}.new")
    beside.write_text(text, encoding="utf-8")
    beside.replace(path)
