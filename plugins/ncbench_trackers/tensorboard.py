"""TensorBoard: event files beside the record, so that ``tensorboard --logdir runs`` shows every run by its id."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ncbench import Tracker
from ncbench_trackers.library import library


class TensorBoard(Tracker):
    """Writes scalars, the settings as a text, and both settings and final metrics for the HParams page.

    Raises:
        NcbenchError: The package tensorboard is not installed.
    """

    def __init__(self, params: Any) -> None:
        super().__init__(params)
        self._torch = library("torch.utils.tensorboard", "tensorboard")

    def start(self, run_id: str, settings: Mapping[str, Any], folder: Path, done: int) -> str:
        """Open an event file in the run's folder; of a resumed run TensorBoard forgets what comes after `done`."""
        if not done:
            for earlier in folder.glob("events.out.tfevents.*"):
                earlier.unlink()
        self._settings = {key: value if _is_plain(value) else str(value) for key, value in settings.items()}
        self._writer = self._torch.SummaryWriter(str(folder), purge_step=done + 1 if done else None)
        rows = [f"| {key} | {_cell(value)} |" for key, value in settings.items()]
        self._writer.add_text("settings", "\n".join(["| setting | value |", "|---|---|", *rows]))
        self._last = done
        return f"tensorboard --logdir {folder.parent}"

    def epoch(self, number: int, numbers: Mapping[str, float]) -> None:
        """Write the figures."""
        self._last = number
        for name, value in numbers.items():
            self._writer.add_scalar(name, value, number)
        self._writer.flush()

    def finish(self, status: str, numbers: Mapping[str, float], record: Path | None) -> None:
        """Write the final metrics and close the file."""
        for name, value in numbers.items():
            self._writer.add_scalar(name, value, self._last)
        if numbers:
            # Not add_hparams, which puts them into another folder, a run of its own to TensorBoard.
            for summary in self._torch.summary.hparams(self._settings, dict(numbers)):
                self._writer.file_writer.add_summary(summary)
        self._writer.close()


def _is_plain(value: object) -> bool:
    return isinstance(value, bool | int | float | str)


def _cell(value: object) -> str:
    return str(value).replace("|", r"\|").replace("\n", " ")
