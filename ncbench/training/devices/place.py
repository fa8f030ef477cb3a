"""Which of the processes of one run this one is, as whoever has started them says."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass

from ncbench.contracts.errors import ConfigurationError

LOST = 75
"""Exit code of a process whose run another one has left before: not its own end, but that one's, is to be told."""
RENDEZVOUS = "NCBENCH_RENDEZVOUS"
"""Variable in which ``ncbench run --devices`` tells the processes that it starts where they find one another."""
_PORTS = range(20_000, 30_000)  # below those that Linux gives to anybody


@dataclass(frozen=True)
class Place:
    """One of the processes of a run.

    Args:
        index: 0..count-1; the first alone writes.
        count: How many there are.
        local: Which of those on its machine it is, from 0.
        beside: How many there are on its machine; 0 where that is not known.
        rendezvous: Where they find one another, as ``torch.distributed.init_process_group`` takes it.
    """

    index: int
    count: int
    local: int
    beside: int
    rendezvous: str


def find_place(devices: int, environment: Mapping[str, str] = os.environ) -> Place | None:
    """Return this process's place in a run on `devices`; None if nobody has started the others.

    Raises:
        ConfigurationError: There are more of them, or fewer, than devices.
    """
    if devices == 1:
        return None
    count = int(environment.get("WORLD_SIZE", 1))
    if count > 1 and "RANK" in environment:
        starter, index = "torchrun", int(environment["RANK"])
        local = int(environment.get("LOCAL_RANK", index))
        beside = int(environment.get("LOCAL_WORLD_SIZE", 0))
        rendezvous = environment.get(RENDEZVOUS, "env://")
    else:
        count = int(environment.get("SLURM_STEP_NUM_TASKS", 1))
        if count == 1:
            return None
        starter, beside = "srun", 0
        index, local = int(environment["SLURM_PROCID"]), int(environment["SLURM_LOCALID"])
        rendezvous = f"tcp://{_first_host(environment)}:{_port(environment)}" if count == devices else ""
    if count != devices:
        raise ConfigurationError(
            f"{starter} has started {count} processes of a run on {devices} devices: it takes one for each. Give "
            f"--devices {count}, or start {devices}."
        )
    return Place(index, count, local, beside, rendezvous)


def _first_host(environment: Mapping[str, str]) -> str:
    """Return the node of the first task of a Slurm step."""
    nodes = environment["SLURM_STEP_NODELIST"]
    if not {",", "["} & {*nodes}:
        return nodes
    listed = subprocess.run(["scontrol", "show", "hostnames", nodes], capture_output=True, text=True, check=True)  # noqa: S603, S607
    return listed.stdout.split()[0]


def _port(environment: Mapping[str, str]) -> int:
    """Return a port that other steps on the node hardly choose."""
    return _PORTS[(31 * int(environment["SLURM_JOB_ID"]) + int(environment["SLURM_STEP_ID"])) % len(_PORTS)]
