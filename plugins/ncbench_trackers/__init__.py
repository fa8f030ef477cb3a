"""Trackers: TensorBoard, Weights & Biases and MLflow, each with the package of an extra.

This module is a plugin like any other; it imports none of the three, and no torch.
"""

from __future__ import annotations

from collections.abc import Iterable

from ncbench.contracts.cards import TrackerCard
from ncbench.contracts.hookspecs import hookimpl


@hookimpl
def ncbench_trackers() -> Iterable[TrackerCard]:
    """Return the cards of the built-in trackers."""
    return [
        TrackerCard(
            name="mlflow",
            summary="MLflow: a server, a database or a folder of runs (ncbench[mlflow])",
            factory="ncbench_trackers.mlflow:MLflow",
        ),
        TrackerCard(
            name="tensorboard",
            summary="TensorBoard: event files in each run's folder (ncbench[tensorboard])",
            factory="ncbench_trackers.tensorboard:TensorBoard",
        ),
        TrackerCard(
            name="wandb",
            summary="Weights & Biases: online, or offline for a later wandb sync (ncbench[wandb])",
            factory="ncbench_trackers.wandb:WandB",
        ),
    ]
