"""How bad mistakes are in the class hierarchy, as a record states it.

Unlike an accuracy these means cannot be recomputed: a record counts the images that are right, not what the others were
taken for. One identity ties them to the counts, and it is checked.
"""

from __future__ import annotations

from collections.abc import Mapping

from ncbench.leaderboard.intake.problems import RefusedError
from ncbench.leaderboard.intake.recompute import TOLERANCE
from ncbench.records.record import Record

SEVERITY = "mistake_severity"
DISTANCE = "hierarchical_distance_at_1"

HEIGHTS = (SEVERITY, DISTANCE, "hierarchical_distance_at_5", "hierarchical_distance_at_20")
"""Mean heights of the lowest common ancestor of the true class and a predicted one (Bertinetto et al., CVPR 2020,
section 4): over the wrong predictions, and over the one, five and twenty likeliest classes of all images."""


def stated_heights(record: Record, accuracies: Mapping[str, float]) -> dict[str, float]:
    """Return the heights that a record states of its test split.

    A right prediction has the distance 0, so that the distance at 1 is the severity times the share of mistakes.

    Args:
        record: What is claimed.
        accuracies: Of the test split, recomputed.

    Returns:
        Name -> height in the hierarchy, where a class has 0; empty without a hierarchy.

    Raises:
        RefusedError: A height is negative, or severity and distance contradict the counts.
    """
    claimed = record.metrics.get("test", {})
    found = {name: claimed[name] for name in HEIGHTS if name in claimed}
    for name, height in found.items():
        if height < 0:
            raise RefusedError(f"metrics.test.{name}", f"it is {height!r}, and no height is negative")
    if DISTANCE in found and "accuracy" in accuracies:
        mistakes = 1 - accuracies["accuracy"]
        if SEVERITY not in found and mistakes > 0:
            raise RefusedError(f"metrics.test.{SEVERITY}", f"it is missing, and {DISTANCE} is stated")
        expected = found.get(SEVERITY, 0.0) * mistakes
        if not abs(found[DISTANCE] - expected) <= TOLERANCE * max(1, expected):
            raise RefusedError(
                f"metrics.test.{DISTANCE}",
                f"it is {found[DISTANCE]!r}, but {SEVERITY} and the counts give {expected!r}",
            )
    return found
