"""Sweeps: the runs a suite names, made where a launcher makes them. Here: this machine, Ray and Slurm.

This module is a plugin like any other; it imports no torch.
"""

from __future__ import annotations

from collections.abc import Iterable

from ncbench.contracts.cards import LauncherCard
from ncbench.contracts.hookspecs import hookimpl


@hookimpl
def ncbench_launchers() -> Iterable[LauncherCard]:
    """Return the cards of the built-in launchers."""
    return [
        LauncherCard(
            name="local",
            summary="Processes on this machine, as many as its cores or GPUs and its memory allow",
            factory="ncbench_launchers.local:Local",
        ),
        LauncherCard(
            name="ray",
            summary="Actors on the nodes of a Ray cluster, started again where a node is lost (ncbench[ray])",
            factory="ncbench_launchers.ray.launcher:Ray",
        ),
        LauncherCard(
            name="slurm",
            summary="Jobs of a Slurm cluster, requeued at their time limit; the sweep may be left and taken up again",
            factory="ncbench_launchers.slurm.launcher:Slurm",
        ),
    ]
