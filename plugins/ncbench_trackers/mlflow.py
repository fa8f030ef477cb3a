"""MLflow: one of its runs for each of ours, named by its id."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field

from ncbench import Parameters, Tracker
from ncbench_trackers.library import library

_VARIABLES = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",  # by default, minutes
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_LOGGING_LEVEL": "CRITICAL",  # what is wrong is raised, too
    "MLFLOW_ALLOW_FILE_STORE": "true",  # newer versions refuse a folder without it
}
_DATABASE = re.compile(r"(sqlite|postgresql|mysql|mssql)[:+]")
_MOST_PARAMETERS = 100  # of one request
_ENDED = {"completed": "FINISHED", "interrupted": "KILLED"}


class MLflowParameters(Parameters):
    """Parameters of :class:`MLflow`."""

    uri: str = Field("", description="server, database or folder; empty: $MLFLOW_TRACKING_URI, else MLflow's default")
    experiment: str = Field("", description="experiment, made if needed; empty: $MLFLOW_EXPERIMENT_NAME, else ncbench")


class MLflow(Tracker):
    """Logs the settings as parameters, the figures by epoch, the final metrics, and the record as an artifact.

    Raises:
        NcbenchError: Neither mlflow-skinny nor mlflow is installed.
    """

    Parameters = MLflowParameters

    def __init__(self, params: Any) -> None:
        super().__init__(params)
        for name, value in _VARIABLES.items():
            os.environ.setdefault(name, value)
        self._entities = library("mlflow.entities", "mlflow")
        uri = params.uri or library("mlflow", "mlflow").get_tracking_uri()
        if _DATABASE.match(uri):
            # By default it tries for two minutes, and no variable changes that.
            library("mlflow.store.db.utils", "mlflow").MAX_RETRY_COUNT = 1
        self._client = library("mlflow", "mlflow").MlflowClient(uri)
        name = params.experiment or os.environ.get("MLFLOW_EXPERIMENT_NAME") or "ncbench"
        experiment = self._client.get_experiment_by_name(name)
        self._experiment = self._client.create_experiment(name) if experiment is None else experiment.experiment_id

    def start(self, run_id: str, settings: Mapping[str, Any], folder: Path, done: int) -> str:
        """Open a run, or go on with the newest one of this name; one that starts anew stands beside earlier ones."""
        earlier = []
        if done:
            named = f"attributes.run_name = '{run_id}'"
            earlier = self._client.search_runs([self._experiment], named, max_results=1, order_by=["start_time DESC"])
        if earlier:
            self._run = earlier[0].info.run_id
            self._client.update_run(self._run, status="RUNNING")
        else:
            self._run = self._client.create_run(self._experiment, run_name=run_id).info.run_id
            parameters = [self._entities.Param(key, str(value)) for key, value in settings.items()]
            for first in range(0, len(parameters), _MOST_PARAMETERS):
                self._client.log_batch(self._run, params=parameters[first : first + _MOST_PARAMETERS])
        return f"experiment {self._experiment} of {self._client.tracking_uri}"

    def epoch(self, number: int, numbers: Mapping[str, float]) -> None:
        """Log the figures."""
        self._log(numbers, number)

    def finish(self, status: str, numbers: Mapping[str, float], record: Path | None) -> None:
        """Log the final metrics and the record, and close the run."""
        self._log(numbers, 0)
        if record is not None:
            self._client.log_artifact(self._run, str(record))
        self._client.set_terminated(self._run, _ENDED.get(status, "FAILED"))

    def _log(self, numbers: Mapping[str, float], step: int) -> None:
        now = int(time.time() * 1000)
        metrics = [self._entities.Metric(name, value, now, step) for name, value in numbers.items()]
        self._client.log_batch(self._run, metrics=metrics)
