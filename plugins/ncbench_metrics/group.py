"""Group accuracies, from the integer counts of each group (target, bias) and nothing else."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from ncbench import Evaluation, Metric
from ncbench.contracts.groups import accuracies, attribute_accuracies, group_counts, shortcut_gaps


class GroupMetrics(Metric):
    """The accuracies of :mod:`ncbench.contracts.groups`, where their definitions stand.

    Where a dataset has several bias attributes, `group_mean_accuracy_NAME` and `worst_group_accuracy_NAME` of each
    besides, and `NAME_gap` of each and of several at once; no card can list these, since their names are the dataset's.
    """

    def compute(self, evaluation: Evaluation) -> Mapping[str, float]:
        """Return the family's metrics."""
        bias_known = evaluation.bias is not None
        found = accuracies(
            evaluation.count,
            evaluation.correct,
            bias_known=bias_known,
            aligned_bias=evaluation.aligned_bias,
            train_count=evaluation.train_count,
        )
        if bias_known:
            tables, attributes = (evaluation.count, evaluation.correct), evaluation.attributes
            found |= attribute_accuracies(*tables, attributes)
            found |= shortcut_gaps(*tables, attributes, evaluation.aligned_bias, evaluation.train_count)
        if evaluation.inferred is not None and evaluation.split == "val":
            found["worst_inferred_group_accuracy"] = _worst(evaluation, evaluation.inferred)
        return found


def _worst(evaluation: Evaluation, group: Tensor) -> float:
    """Return the lowest accuracy of the cells (y, inferred group) that have images."""
    hit = evaluation.predicted == evaluation.target
    shape = evaluation.num_classes, int(group.max()) + 1
    count, correct = (
        group_counts(evaluation.target[images].cpu().numpy(), group[images].cpu().numpy(), *shape)
        for images in (slice(None), hit)
    )
    return accuracies(count, correct, bias_known=True)["worst_group_accuracy"]
