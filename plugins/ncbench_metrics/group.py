"""Group accuracies, from the integer counts of each cell (target, bias) and nothing else."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ncbench import Evaluation, Metric


class GroupMetrics(Metric):
    """Accuracies as fractions in [0, 1]; a cell is a group g = (y, a) and its accuracy is correct / count.

    - `accuracy`: every image weighs the same.
    - `class_mean_accuracy`: mean over the classes that have images of the class's accuracy (macro recall);
      `balanced_error` is 1 minus it.
    - `group_mean_accuracy`: mean over the cells that have images; the literature's "unbiased accuracy".
    - `worst_group_accuracy`: the smallest accuracy of a cell that has images.
    - `aligned_accuracy`, `conflicting_accuracy`: mean over the cells that have images where the bias value is, or is
      not, the one that goes along with the class in training.
    - `adjusted_accuracy`: the cells weighted by their share of the training images. Training cells without an image
      in this split drop out, and the other shares are scaled up to add to 1.

    What is not defined is left out: everything on a split without images; all but `accuracy`, `class_mean_accuracy`
    and `balanced_error` where the bias attribute is unknown on the split; the aligned and conflicting ones where the
    dataset names no alignment or the split has no image of that kind; `adjusted_accuracy` where the attribute is
    unknown in training or no training cell has images here. A class without images does not count as one that is
    always wrong. With one class every number is still defined, and equals what its definition says.
    """

    def compute(self, evaluation: Evaluation) -> Mapping[str, float]:
        """Return the family's metrics."""
        count, correct = evaluation.count, evaluation.correct  # (K, B)
        if count.sum() == 0:
            return {}
        class_mean = _mean_accuracy(correct.sum(axis=1), count.sum(axis=1))
        metrics = {
            "accuracy": correct.sum() / count.sum(),
            "class_mean_accuracy": class_mean,
            "balanced_error": 1 - class_mean,
        }
        if evaluation.bias is None:
            return metrics

        filled = count > 0
        metrics["group_mean_accuracy"] = _mean_accuracy(correct, count)
        metrics["worst_group_accuracy"] = (correct[filled] / count[filled]).min()
        if evaluation.aligned_bias is not None:
            aligned = np.arange(count.shape[1]) == np.asarray(evaluation.aligned_bias)[:, None]  # (K, B)
            for name, cells in (("aligned_accuracy", aligned), ("conflicting_accuracy", ~aligned)):
                if count[cells].any():
                    metrics[name] = _mean_accuracy(correct[cells], count[cells])
        if evaluation.train_count is not None and evaluation.train_count[filled].any():
            share = evaluation.train_count[filled] / evaluation.train_count[filled].sum()
            metrics["adjusted_accuracy"] = (share * correct[filled] / count[filled]).sum()
        return {name: float(value) for name, value in metrics.items()}


def _mean_accuracy(correct: np.ndarray, count: np.ndarray) -> float:
    """Return the mean of correct / count over the entries with a count."""
    filled = count > 0
    return float((correct[filled] / count[filled]).mean())
