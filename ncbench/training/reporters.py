"""Who is told how a run goes: nobody, or the notebook that it is made in; a terminal's bar is the command line's."""

from __future__ import annotations

import importlib
import sys
import time
from typing import Any, Protocol

from ncbench.discovery.registry import registry

_EVERY = 0.2  # seconds between two looks of a line in a notebook, each a message to the browser


class Reporter(Protocol):
    """Who is told how a run goes."""

    def plan(self, epochs: int, done: int) -> None:
        """Hear that the run has `epochs` epochs in all, of which `done` are restored from a checkpoint."""

    def step(self, fraction: float) -> None:
        """Hear that this fraction of the current epoch is done."""

    def epoch(self, entry: dict[str, Any]) -> None:
        """Hear that an epoch is done; `entry` is its part of the history."""


class Silent:
    """A reporter that tells nobody."""

    def plan(self, epochs: int, done: int) -> None:
        """Ignore the plan."""

    def step(self, fraction: float) -> None:
        """Ignore the step."""

    def epoch(self, entry: dict[str, Any]) -> None:
        """Ignore the epoch."""


class NotebookLine(Silent):
    """A line below the cell of a Jupyter notebook, changed in place: how far the run is, and the newest figures."""

    def __init__(self) -> None:
        self.epochs, self.done, self.figures, self.shown = 1, 0, "", 0.0
        notebook = importlib.import_module("IPython.display")  # there, since one is running
        self.handle = notebook.display(self._line(), raw=True, display_id=True)

    def plan(self, epochs: int, done: int) -> None:
        """Take note of the number of epochs; the figures of a run that was made first for this one are not its own."""
        self.epochs, self.done, self.figures = epochs, done, ""
        self._show()

    def step(self, fraction: float) -> None:
        """Move on within the epoch."""
        if time.monotonic() - self.shown > _EVERY:
            self._show(fraction)

    def epoch(self, entry: dict[str, Any]) -> None:
        """Move on to the next epoch and show its figures."""
        self.done, self.figures = entry["epoch"], describe(entry)
        if self.done == self.epochs or time.monotonic() - self.shown > _EVERY:
            self._show()

    def _show(self, fraction: float = 0.0) -> None:
        self.shown = time.monotonic()
        self.handle.update(self._line(fraction), raw=True)

    def _line(self, fraction: float = 0.0) -> dict[str, str]:
        share = min((self.done + fraction) / self.epochs, 1.0)
        bar = "\u2588" * round(20 * share) + "\u2591" * (20 - round(20 * share))
        return {"text/plain": f"{bar} epoch {self.done}/{self.epochs}  {self.figures}".rstrip()}


def fitting_reporter() -> Reporter:
    """Return what shows a run in the notebook that it is made in; elsewhere, what tells nobody."""
    shell = sys.modules.get("IPython")
    running = None if shell is None else shell.get_ipython()
    return NotebookLine() if running is not None and hasattr(running, "kernel") else Silent()


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
