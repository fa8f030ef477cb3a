"""The built-in metric families."""

from __future__ import annotations

from collections.abc import Iterable

from ncbench import MetricCard, hookimpl


@hookimpl
def ncbench_metrics() -> Iterable[MetricCard]:
    """Return the cards of the built-in metric families."""
    return [
        MetricCard(
            name="group",
            summary="Accuracies from the integer counts of each group (target, bias)",
            factory="ncbench_metrics.group:GroupMetrics",
            citation="Sagawa, Koh, Hashimoto, Liang. Distributionally Robust Neural Networks for Group Shifts. "
            "ICLR 2020.",
            metrics={
                "accuracy": "higher",
                "group_mean_accuracy": "higher",
                "worst_group_accuracy": "higher",
                "aligned_accuracy": "higher",
                "conflicting_accuracy": "higher",
                "adjusted_accuracy": "higher",
                "class_mean_accuracy": "higher",
                "balanced_error": "lower",
            },
        ),
    ]
