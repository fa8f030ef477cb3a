"""Showing how a run goes: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Any

import click
from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.text import Text

from ncbench.discovery.registry import registry
from ncbench.training.loop import Reporter, Silent

LINES = 20  # of plain output a run, at most about


class PlainLines:
    """Prints about twenty lines a run, for logs and pipes."""

    def __init__(self) -> None:
        self.epochs = 1

    def plan(self, epochs: int, done: int) -> None:
        """Note the number of epochs, and say where a resumed run goes on."""
        self.epochs = epochs
        if done:
            click.echo(f"Going on after epoch {done} of {epochs}.", err=True)

    def step(self, fraction: float) -> None:
        """Print nothing inside an epoch."""

    def epoch(self, entry: dict[str, Any]) -> None:
        """Print the first epoch, the last, and every twentieth part between."""
        number = entry["epoch"]
        if number == 1 or number == self.epochs or number % max(self.epochs // LINES, 1) == 0:
            click.echo(f"epoch {number}/{self.epochs}  {describe(entry)}", err=True)


class Bar:
    """A rich progress bar with the newest figures below it."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self.task = progress.add_task("training", total=None, figures="")
        self.done = 0

    def plan(self, epochs: int, done: int) -> None:
        """Set the length of the bar."""
        self.done = done
        self.progress.update(self.task, total=epochs, completed=done)

    def step(self, fraction: float) -> None:
        """Move on within the epoch."""
        self.progress.update(self.task, completed=self.done + fraction)

    def epoch(self, entry: dict[str, Any]) -> None:
        """Move on to the next epoch and show its figures."""
        self.done = entry["epoch"]
        self.progress.update(self.task, completed=self.done, figures=describe(entry))


def describe(entry: dict[str, Any]) -> str:
    """Return an epoch's figures in one line."""
    loss = entry["losses"]["loss"]
    parts = [f"loss {loss:.4f}" if loss is not None else "loss not finite"]
    test = entry["metrics"].get("val") or entry["metrics"].get("test") or {}
    parts += [
        f"{measure.label} {f'{100 * test[name]:.1f}' if measure.unit == '%' else f'{test[name]:.4g}'}"
        for name, measure in registry().measures().items()
        if measure.shown_in == "progress" and name in test
    ]
    return "  ".join(parts)


class _TwoLines(Progress):
    """The bar, and the newest figures below it: beside each other they are wider than many terminals."""

    def get_renderables(self) -> Iterator[RenderableType]:
        """Yield the bar's line and, once there are any, the figures'."""
        yield self.make_tasks_table(self.tasks)
        for task in self.tasks:
            if task.fields["figures"]:
                yield Text(task.fields["figures"], no_wrap=True, overflow="ellipsis")


def progress_on(console: Console) -> Progress:
    """Return the display that a :class:`Bar` moves."""
    return _TwoLines(
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
    )


@contextlib.contextmanager
def make_reporter(quiet: bool) -> Iterator[Reporter]:
    """Yield the reporter that fits where standard error goes."""
    if quiet:
        yield Silent()
    elif not sys.stderr.isatty():
        yield PlainLines()
    else:
        with progress_on(Console(stderr=True)) as progress:
            yield Bar(progress)
