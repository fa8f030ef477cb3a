"""What the pages draw of a history: a few accuracies and collapse measures over epochs, thinned.

Unlike a row's accuracies these numbers cannot be recomputed; they are the record's own word.
"""

from __future__ import annotations

import functools
from array import array
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ncbench.records.record import Record, Split

ACCURACIES = ("aligned_accuracy", "conflicting_accuracy", "worst_group_accuracy")
"""Drawn of the test split, beside the primary metric."""

COLLAPSE = ("nc1", "bias_nc1", "nc2_norm_cv", "nc2_angle_std", "nc3_self_duality")
"""Drawn of the training split."""

POINTS = 32
"""Most points a curve keeps."""


@dataclass(frozen=True, slots=True)
class Curve:
    """One metric of one run.

    Args:
        epochs: Where it was measured, increasing; at most :data:`POINTS` of them, denser in the beginning.
        values: The metric there. An array, since an archive has many thousand curves.
    """

    epochs: tuple[int, ...]
    values: array[float]


@dataclass(frozen=True, slots=True)
class History:
    """What is drawn of one run.

    Args:
        curves: Metric -> its curve.
        epochs: How many epochs the run has, over all stages.
        stages: The first epoch of every stage but the first.
        seconds: Of training, on the machine it ran on; None if the record does not say.
    """

    curves: Mapping[str, Curve]
    epochs: int
    stages: tuple[int, ...]
    seconds: float | None

    def last(self, metric: str) -> float | None:
        """Return a metric's value at the last epoch; None if it has none there, as where it is not defined any more."""
        curve = self.curves.get(metric)
        return None if curve is None or curve.epochs[-1] != self.epochs else curve.values[-1]


def read_history(record: Record) -> History:
    """Return what is drawn of a record whose epochs count up from 1."""
    curves: dict[str, Curve] = {}
    drawn: tuple[tuple[Split, tuple[str, ...]], ...] = (
        ("test", (record.primary_metric, *ACCURACIES)),
        ("train", COLLAPSE),
    )
    for split, names in drawn:
        measured = {
            epoch.epoch: numbers
            for epoch in record.history
            if (numbers := epoch.metrics.get(split)) and not numbers.keys().isdisjoint(names)
        }
        together = _thinned(tuple(measured))
        for name in names:
            epochs = together
            if any(name not in measured[epoch] for epoch in together):
                epochs = _thinned(tuple(epoch for epoch, numbers in measured.items() if name in numbers))
            if epochs:
                curves[name] = Curve(epochs, array("d", [measured[epoch][name] for epoch in epochs]))
    stages = [epoch.stage for epoch in record.history]
    starts = [number for number in range(2, len(stages) + 1) if stages[number - 1] != stages[number - 2]]
    return History(curves, len(stages), tuple(starts[:POINTS]), record.timing.get("train_seconds"))


@functools.lru_cache(maxsize=256)  # the runs of an archive share a few lists of epochs
def _thinned(epochs: tuple[int, ...]) -> tuple[int, ...]:
    """Return at most :data:`POINTS` epochs, the first and the last among them, evenly spaced in their logarithm."""
    if len(epochs) <= POINTS:
        return epochs
    wanted = np.geomspace(epochs[0], epochs[-1], POINTS) - 0.5
    positions = np.searchsorted(epochs, wanted).clip(max=len(epochs) - 1)
    return tuple(epochs[position] for position in sorted({0, *positions.tolist(), len(epochs) - 1}))
