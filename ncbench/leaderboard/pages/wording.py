"""How the pages name metrics and labels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ncbench.leaderboard.tables.board import Comparable, Estimate, Measure, Section

DECIMALS = {"fraction": 2, "LCA height": 3}
"""Shown of a number; of a fraction, in per cent."""

INTERVAL = "± is half the 95% interval of the mean over seeds (Student's t), not a standard deviation"
"""What stands below a table with intervals: a paper's ± is mostly something else."""


def _accuracy(name: str, heading: str, meaning: str) -> Measure:
    return Measure(name=name, heading=heading, meaning=meaning, unit="fraction", better="higher", recomputed=True)


def _height(name: str, heading: str, meaning: str) -> Measure:
    return Measure(name=name, heading=heading, meaning=meaning, unit="LCA height", better="lower", recomputed=False)


MEASURES: Mapping[str, Measure] = {
    measure.name: measure
    for measure in (
        _accuracy("accuracy", "accuracy", "The share of all test images that are classified correctly."),
        _height(
            "mistake_severity",
            "mistake severity",
            "How far a wrong prediction is from the true class: the height of their lowest common ancestor (LCA) in "
            "the class hierarchy, averaged over the images that are classified wrongly.",
        ),
        _height(
            "hierarchical_distance_at_1",
            "distance@1",
            "The height of the lowest common ancestor of the true and the predicted class, averaged over all images; a "
            "right prediction counts 0.",
        ),
        *(
            _height(
                f"hierarchical_distance_at_{k}",
                f"distance@{k}",
                f"The same, averaged over the {k} likeliest classes of each image.",
            )
            for k in (5, 20)
        ),
        _accuracy(
            "group_mean_accuracy",
            "group mean",
            "Accuracy within each group (a class with a value of the bias attribute), averaged so that every group "
            "counts once. Elsewhere called unbiased accuracy.",
        ),
        _accuracy("worst_group_accuracy", "worst group", "Accuracy within the group that has the lowest one."),
        _accuracy(
            "aligned_accuracy",
            "aligned",
            "Averaged over the groups whose bias value is the one that goes along with their class in training.",
        ),
        _accuracy(
            "conflicting_accuracy",
            "conflicting",
            "Averaged over the groups whose bias value goes against their class: what a model that follows the "
            "shortcut gets wrong.",
        ),
        _accuracy(
            "adjusted_accuracy",
            "adjusted",
            "Groups weighted by their share of the training images: the accuracy on data like those trained on.",
        ),
        _accuracy(
            "class_mean_accuracy",
            "class mean",
            "Accuracy within each class, averaged so that every class counts once.",
        ),
    )
}
"""What the tables show, in the order they show it."""


def heading(name: str) -> str:
    """Return the heading of a measure's column, with an arrow where lower is better."""
    measure = MEASURES[name]
    return f"{measure.heading} ↓" if measure.better == "lower" else measure.heading


def shown(value: float, name: str, signed: bool = False) -> str:
    """Return a value of a measure as it is shown: a fraction in per cent, a height as it is."""
    unit = MEASURES[name].unit
    scale = 100 if unit == "fraction" else 1
    return f"{scale * value:{'+' if signed else ''}.{DECIMALS[unit]}f}"


def margin(estimate: Estimate, name: str) -> str:
    """Return half the width of an estimate's interval as it is shown; empty without one."""
    if estimate.low is None or estimate.high is None:
        return ""
    return shown((estimate.high - estimate.low) / 2, name)


def labels_used(group: Comparable) -> str:
    """Return which labels beyond the target a group of rows used, as the beginning of a sentence."""
    used = [f"bias labels of {split} images" for split in ("train", "val") if getattr(group, split) == "bias"]
    used += ["the class hierarchy"] if group.hierarchy else []
    return f"Using {' and '.join(used)}" if used else "Using targets alone"


def shown_metrics(sections: Iterable[Section]) -> list[str]:
    """Return the measures that any row of some sections has, in the order they are shown."""
    found = {name for section in sections for row in section.rows for name in row.metrics}
    return [name for name in MEASURES if name in found]


def interval_note(sections: Iterable[Section]) -> str:
    """Return what ± means in the tables of some sections; empty if no row has an interval."""
    estimates = (estimate for section in sections for row in section.rows for estimate in row.metrics.values())
    return INTERVAL if any(estimate.low is not None for estimate in estimates) else ""
