"""How the pages name metrics and labels."""

from __future__ import annotations

from collections.abc import Iterable

from ncbench.leaderboard.board import Comparable, Section

SHORT = {
    "accuracy": "accuracy",
    "group_mean_accuracy": "group mean",
    "worst_group_accuracy": "worst group",
    "aligned_accuracy": "aligned",
    "conflicting_accuracy": "conflicting",
    "adjusted_accuracy": "adjusted",
    "class_mean_accuracy": "class mean",
}
"""Headings of the accuracies, in the order they are shown."""

MEANING = {
    "accuracy": "The share of all test images that are classified correctly.",
    "group_mean_accuracy": "Accuracy within each group (a class with a value of the bias attribute), averaged so that "
    "every group counts once. Elsewhere called unbiased accuracy.",
    "worst_group_accuracy": "Accuracy within the group that has the lowest one.",
    "aligned_accuracy": "Averaged over the groups whose bias value is the one that goes along with their class in "
    "training.",
    "conflicting_accuracy": "Averaged over the groups whose bias value goes against their class: what a model that "
    "follows the shortcut gets wrong.",
    "adjusted_accuracy": "Groups weighted by their share of the training images: the accuracy on data like those "
    "trained on.",
    "class_mean_accuracy": "Accuracy within each class, averaged so that every class counts once.",
}
"""What each accuracy means, for readers who have not met it."""


def labels_used(group: Comparable) -> str:
    """Return which labels beyond the target a group of rows used, as the beginning of a sentence."""
    used = [f"bias labels of {split} images" for split in ("train", "val") if getattr(group, split) == "bias"]
    used += ["the class hierarchy"] if group.hierarchy else []
    return f"Using {' and '.join(used)}" if used else "Using targets alone"


def shown_metrics(sections: Iterable[Section]) -> list[str]:
    """Return the accuracies that any row of some sections has, in the order they are shown."""
    found = {name for section in sections for row in section.rows for name in row.metrics}
    return [name for name in SHORT if name in found]
