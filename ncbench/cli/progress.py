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

from ncbench.cli.terminal import text_console
from ncbench.training.reporters import Reporter, Silent, describe

LINES = 20  # of plain output a run, at most about


class PlainLines(Silent):
    """Prints about twenty lines a run, for logs and pipes."""

    def __init__(self) -> None:
        self.epochs = 1

    def plan(self, epochs: int, done: int) -> None:
        """Note the number of epochs, and say where a resumed run goes on."""
        self.epochs = epochs
        if done:
            click.echo(f"Going on after epoch {done} of {epochs}.", err=True)

    def epoch(self, entry: dict[str, Any]) -> None:
        """Print the first epoch, the last, and every twentieth part between."""
        number = entry["epoch"]
        if number == 1 or number == self.epochs or number % max(self.epochs // LINES, 1) == 0:
            click.echo(f"epoch {number}/{self.epochs}  {describe(entry)}", err=True)


class Bar(Progress):
    """A progress bar, and the newest figures below it: beside each other they are wider than many terminals."""

    def __init__(self, console: Console) -> None:
        columns = (BarColumn(bar_width=20), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
        self.done, self.figures = 0, ""
        super().__init__(TextColumn("{task.description}"), *columns, console=console)
        self.run = self.add_task("training", total=None)

    def get_renderables(self) -> Iterator[RenderableType]:
        """Yield the bar's line and, once there are any, the figures'."""
        yield self.make_tasks_table(self.tasks)
        if self.figures:
            yield Text(self.figures, no_wrap=True, overflow="ellipsis")

    def plan(self, epochs: int, done: int) -> None:
        """Set the length of the bar."""
        self.done = done
        self.update(self.run, total=epochs, completed=done)

    def step(self, fraction: float) -> None:
        """Move on within the epoch."""
        self.update(self.run, completed=self.done + fraction)

    def epoch(self, entry: dict[str, Any]) -> None:
        """Move on to the next epoch and show its figures."""
        self.done, self.figures = entry["epoch"], describe(entry)
        self.update(self.run, completed=self.done)


@contextlib.contextmanager
def make_reporter(quiet: bool) -> Iterator[Reporter]:
    """Yield the reporter that fits where standard error goes."""
    if quiet:
        yield Silent()
    elif not sys.stderr.isatty():
        yield PlainLines()
    else:
        with Bar(text_console(stderr=True)) as bar:
            yield bar
