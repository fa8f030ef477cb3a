"""Weights & Biases: one of its runs for each of ours, of the same id and name."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field

from ncbench import NcbenchError, Parameters, Tracker
from ncbench_trackers.library import library

_PATIENCE_SECONDS = 30  # for the service, at the beginning and, where it is gone by then, at the end


class WandBParameters(Parameters):
    """Parameters of :class:`WandB`."""

    project: str = Field("", description="project; empty: $WANDB_PROJECT, else ncbench")
    entity: str = Field("", description="user or team; empty: $WANDB_ENTITY, else the account's default")


class WandB(Tracker):
    """Logs the settings as config, the figures by epoch, the final metrics as summary and the record as an artifact.

    Everything else is as W&B is set up: ``wandb login``, ``WANDB_MODE=offline``, ``WANDB_BASE_URL``, ... Its files go
    into the run's folder, unless ``WANDB_DIR`` is set. Nothing is asked of the user.

    Raises:
        NcbenchError: wandb is not installed, or there is nobody logged in.
    """

    Parameters = WandBParameters

    def __init__(self, params: Any) -> None:
        super().__init__(params)
        self._wandb = library("wandb", "wandb")
        settings = self._wandb.setup(self._wandb.Settings(silent=True)).settings
        if settings.mode == "online" and not self._wandb.login(prompt=False):
            raise NcbenchError("nobody is logged in: use wandb login, or WANDB_MODE=offline and a later wandb sync")

    def start(self, run_id: str, settings: Mapping[str, Any], folder: Path, done: int) -> str:
        """Open a run, or go on with the one of this id; one that starts anew takes the place of an earlier one."""
        self._run = self._wandb.init(
            project=self.params.project or os.environ.get("WANDB_PROJECT") or "ncbench",
            entity=self.params.entity or None,
            id=run_id,
            name=run_id,
            dir=None if "WANDB_DIR" in os.environ else str(folder),
            config=dict(settings),
            resume="allow" if done else None,
            reinit="create_new",
            settings=self._wandb.Settings(
                silent=True,
                console="off",  # what a run prints is the terminal's
                init_timeout=_PATIENCE_SECONDS,
                finish_timeout=_PATIENCE_SECONDS,
                finish_timeout_raises=True,
            ),
        )
        return self._run.url or self._run.settings.sync_dir

    def epoch(self, number: int, numbers: Mapping[str, float]) -> None:
        """Log the figures; W&B takes no step twice, and those that come again are the same."""
        if number >= self._run.step:
            self._run.log(dict(numbers), step=number)

    def finish(self, status: str, numbers: Mapping[str, float], record: Path | None) -> None:
        """Log the final metrics and the record, and wait until all is sent."""
        self._run.summary.update({**numbers, "status": status})
        if record is not None:
            artifact = self._wandb.Artifact(f"record-{self._run.id}", type="record")
            artifact.add_file(str(record))
            self._run.log_artifact(artifact)
        self._run.finish(exit_code=0 if status == "completed" else 1)
