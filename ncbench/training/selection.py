"""Model selection: which epoch's model stands for the run.

The test split is never used to select. A criterion that needs the bias attribute of validation images counts as
supervision ``val="bias"``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ncbench.contracts.cards import Supervision
from ncbench.contracts.errors import ConfigurationError

CRITERIA: Mapping[str, tuple[str | None, bool]] = {
    "last": (None, False),
    "val_accuracy": ("accuracy", False),
    "val_group_mean_accuracy": ("group_mean_accuracy", True),
    "val_worst_group_accuracy": ("worst_group_accuracy", True),
}
"""Criterion -> (metric of the validation split to maximise, whether it needs bias labels there)."""


@dataclass(frozen=True)
class Best:
    """The best epoch so far under one criterion."""

    epoch: int
    score: float


def available_criteria(has_val: bool, val_bias_known: bool) -> list[str]:
    """Return the criteria a dataset's splits allow."""
    return [
        name
        for name, (metric, needs_bias) in CRITERIA.items()
        if metric is None or (has_val and (val_bias_known or not needs_bias))
    ]


def check_criterion(primary: str, available: list[str], dataset: str) -> None:
    """Refuse a primary criterion that the dataset does not allow.

    Raises:
        ConfigurationError: The dataset has no validation split, or no bias labels on it.
    """
    if primary not in available:
        raise ConfigurationError(
            f"recipe.selection={primary} needs a validation split"
            f"{' with bias labels' if CRITERIA[primary][1] else ''}, which {dataset} does not have. "
            f"Possible here: {', '.join(available)}."
        )


def effective_supervision(declared: Supervision, primary: str) -> Supervision:
    """Return what the run as a whole used: the method's declaration, and what selecting the model needed."""
    val = "bias" if CRITERIA[primary][1] else declared.val
    return Supervision(declared.train, val, declared.hierarchy)


def improved(best: Best | None, epoch: int, criterion: str, val_metrics: Mapping[str, float]) -> Best | None:
    """Return the new best if `epoch` is better than the best so far, else None; the earliest of equals stays."""
    metric, _ = CRITERIA[criterion]
    if metric is None:
        return Best(epoch, float(epoch))
    score = val_metrics.get(metric)
    if score is None or (best is not None and score <= best.score):
        return None
    return Best(epoch, score)
