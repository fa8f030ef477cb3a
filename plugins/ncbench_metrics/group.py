"""Group accuracies, from the integer counts of each group (target, bias) and nothing else."""

from __future__ import annotations

from collections.abc import Mapping

from ncbench import Evaluation, Metric
from ncbench.contracts.groups import accuracies


class GroupMetrics(Metric):
    """The accuracies of :func:`ncbench.contracts.groups.accuracies`, where their definitions stand."""

    def compute(self, evaluation: Evaluation) -> Mapping[str, float]:
        """Return the family's metrics."""
        return accuracies(
            evaluation.count,
            evaluation.correct,
            bias_known=evaluation.bias is not None,
            aligned_bias=evaluation.aligned_bias,
            train_count=evaluation.train_count,
        )
