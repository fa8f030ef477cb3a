"""The hooks a plugin may implement.

A plugin is an installed package with an entry point in the group ``ncbench`` that names a module (or any object) with
hook implementations::

    from ncbench import MethodCard, Supervision, hookimpl

    @hookimpl
    def ncbench_methods():
        return [MethodCard(name="mine", summary="...", factory="my_package.mine:Mine", supervision=Supervision())]

Hooks that return cards are called once, when names are first looked up. The module they live in is imported by every
command, ``--help`` included, so it must not import torch: a card's factory is imported when it is used.

``--plugin FILE.py`` takes the same from a file that nothing installs, for one command; that may import what it likes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import pluggy

from ncbench.contracts.cards import (
    BackboneCard,
    DatasetCard,
    GroupsCard,
    LauncherCard,
    MethodCard,
    MetricCard,
    TrackerCard,
)

if TYPE_CHECKING:
    import click

hookspec = pluggy.HookspecMarker("ncbench")
hookimpl = pluggy.HookimplMarker("ncbench")


@hookspec
def ncbench_datasets() -> Iterable[DatasetCard]:
    """Return the cards of the datasets this plugin brings."""
    return ()


@hookspec
def ncbench_methods() -> Iterable[MethodCard]:
    """Return the cards of the training methods this plugin brings."""
    return ()


@hookspec
def ncbench_groups() -> Iterable[GroupsCard]:
    """Return the cards of the ways to infer groups that this plugin brings."""
    return ()


@hookspec
def ncbench_metrics() -> Iterable[MetricCard]:
    """Return the cards of the metric families this plugin brings; every run computes them all."""
    return ()


@hookspec
def ncbench_backbones() -> Iterable[BackboneCard]:
    """Return the cards of the backbones this plugin brings."""
    return ()


@hookspec
def ncbench_launchers() -> Iterable[LauncherCard]:
    """Return the cards of the launchers this plugin brings."""
    return ()


@hookspec
def ncbench_trackers() -> Iterable[TrackerCard]:
    """Return the cards of the trackers this plugin brings."""
    return ()


@hookspec
def ncbench_commands(cli: click.Group) -> None:
    """Add click commands to `cli`, ncbench's own command group. A name that exists already is refused."""


@hookspec
def ncbench_run_started(run: Mapping[str, Any]) -> None:
    """Observe the start of a run.

    `run` is the part of the record that is known by then (run_id, method, dataset, backbone, seed, recipe, ...),
    read-only.
    """


@hookspec
def ncbench_epoch_finished(run: Mapping[str, Any], epoch: int, logs: Mapping[str, Any]) -> None:
    """Observe a finished epoch, counted from 1; `logs` is its entry of the record's history."""


@hookspec
def ncbench_run_finished(run: Mapping[str, Any], result: Mapping[str, Any]) -> None:
    """Observe the end of a run, however it ended; `result` is the whole record as written."""
