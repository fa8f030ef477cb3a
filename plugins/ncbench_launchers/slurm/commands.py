"""Slurm's commands, and what they answer."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ncbench import ConfigurationError

_SECONDS = 120  # a controller that is busy may take a while
_OVER = frozenset(
    {"BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED", "REVOKED"}
    | {"TIMEOUT"}
)


class SlurmError(ConfigurationError):
    """A command has failed, or Slurm's controller does not answer."""


@dataclass(frozen=True)
class State:
    """What Slurm says of an element of an array.

    Args:
        name: Such as RUNNING.
        node: Where it is; empty if nowhere.
        reason: Why it is pending.
    """

    name: str
    node: str = ""
    reason: str = ""

    @property
    def over(self) -> bool:
        """Whether it will not run again, unless it is requeued just now."""
        return self.name in _OVER


def require_slurm(partition: str) -> int:
    """Return how many elements an array can have.

    Raises:
        ConfigurationError: There are no commands of Slurm here, its controller does not answer, or there is no such
            partition.
    """
    if shutil.which("sbatch") is None:
        raise ConfigurationError(
            "There is no sbatch here. Give this command on a machine that hands in jobs to Slurm, or choose another "
            "--launcher."
        )
    limit = re.search(r"^MaxArraySize\s*=\s*(\d+)", _ask("scontrol", "show", "config"), re.MULTILINE)
    partitions = _ask("sinfo", "--all", "--noheader", "--format=%R").split()
    if partition and partition not in partitions:
        from ncbench import unknown_name

        raise unknown_name("partition of Slurm", partition, partitions, listed_by="sinfo --all")
    return int(limit[1]) if limit else 1000


def submit(options: Sequence[str], script: Path, answer: Path) -> str:
    """Hand in a script, and return the job's number, which is also in the file `answer`, whatever becomes of us.

    Raises:
        SlurmError: Slurm refuses it; the message says why.
    """
    with answer.open("w", encoding="utf-8") as file:
        command = ["sbatch", "--parsable", *options, str(script)]
        done = subprocess.run(command, stdout=file, stderr=subprocess.PIPE, text=True)  # noqa: S603 (no shell)
    if done.returncode:
        raise SlurmError(f"Slurm refuses these jobs: {_last_line(done.stderr)}")
    return job_number(answer)


def job_number(answer: Path) -> str:
    """Return the number that :func:`submit` has left in a file; empty if none."""
    return answer.read_text(encoding="utf-8").strip().partition(";")[0] if answer.exists() else ""


def states(jobs: Iterable[tuple[str, str]]) -> dict[str, State]:
    """Return how the elements of arrays stand, by ``NUMBER_INDEX``; those that ended some minutes ago are forgotten.

    Args:
        jobs: Number and name of each array: numbers come again, in time or where a cluster is set up anew.

    Raises:
        SlurmError: As for any command.
    """
    names = dict(jobs)
    if not names:
        return {}
    try:
        listed = _ask(
            "squeue", "--noheader", "--array", "--states=all", f"--jobs={','.join(names)}", "--format=%i|%j|%T|%N|%r"
        )
    except SlurmError as error:
        if "Invalid job id" in str(error):
            return {}
        raise
    found = {}
    for line in listed.splitlines():
        element, name, *state = line.strip().split("|", 4)
        if names.get(element.partition("_")[0]) == name:
            found[element] = State(*state)
    return found


def last_state(element: str) -> str:
    """Return the state of an element that the queue has forgotten, by the accounting; empty where there is none."""
    try:
        listed = _ask("sacct", "--noheader", "--parsable2", "--allocations", f"--jobs={element}", "--format=State")
    except SlurmError:
        return ""
    return listed.split()[-1] if listed.split() else ""  # "CANCELLED by 1000" has more words than one


def cancel(elements: Iterable[str], *options: str) -> None:
    """Cancel elements, or send them a signal; what is over already is no matter.

    Raises:
        SlurmError: As for any command.
    """
    by_array: dict[str, list[str]] = {}
    for element in elements:
        number, _, index = element.partition("_")
        by_array.setdefault(number, []).append(index)
    if by_array:
        _ask("scancel", "--quiet", *options, *(f"{number}_[{','.join(them)}]" for number, them in by_array.items()))


def requeue(element: str) -> None:
    """Put an element that runs back into the queue.

    Raises:
        SlurmError: As for any command.
    """
    _ask("scontrol", "requeue", element)


def _ask(*command: str) -> str:
    """Return what a command prints.

    Raises:
        SlurmError: It fails, does not end or is not there.
    """
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS)  # noqa: S603 (no shell)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SlurmError(f"Slurm does not answer: {error}") from error
    if done.returncode:
        raise SlurmError(f"Slurm does not answer: {_last_line(done.stderr)}")
    return done.stdout


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1].strip() if lines else "it says nothing"
