"""What a record states and cannot be recomputed: it counts the images that are right, and holds nothing of the others.

What can be told all the same is checked: every number's range, and one identity that ties the heights of mistakes in a
class hierarchy to the counts.
"""

from __future__ import annotations

from collections.abc import Mapping

from ncbench.leaderboard.intake.catalogue import Catalogue
from ncbench.leaderboard.intake.files import is_folder_name
from ncbench.leaderboard.intake.problems import RefusedError
from ncbench.leaderboard.intake.recompute import TOLERANCE
from ncbench.records.record import Record

SEVERITY = "mistake_severity"
DISTANCE = "hierarchical_distance_at_1"
MOST_UNKNOWN = 16
"""Metrics of others' plugins that a record may state of its test split: each is a column for everybody."""


def stated_numbers(record: Record, accuracies: Mapping[str, float], catalogue: Catalogue) -> dict[str, float]:
    """Return what a record states of its test split and tables show, by metric.

    A right prediction has the distance 0 in the hierarchy, so that the distance at 1 is the severity times the share of
    mistakes.

    Args:
        record: What is claimed.
        accuracies: Of the test split, recomputed.
        catalogue: The cards that describe metrics.

    Raises:
        RefusedError: A number is out of its range, severity and distance contradict the counts, or there are too many.
    """
    claimed = record.metrics.get("test", {})
    found = {name: value for name, value in claimed.items() if name not in accuracies and is_folder_name(name)}
    unknown = found.keys() - catalogue.measures.keys()
    if len(unknown) > MOST_UNKNOWN:
        raise RefusedError("metrics.test", f"{len(unknown)} are not ncbench's, and {MOST_UNKNOWN} may be")
    for name in found.keys() - unknown:
        unit = catalogue.measures[name].unit
        if unit and found[name] < 0:
            raise RefusedError(f"metrics.test.{name}", f"it is {found[name]!r}, and cannot be negative")
        if unit == "%" and found[name] > 1:
            raise RefusedError(f"metrics.test.{name}", f"it is {found[name]!r}, and a share is 1 at most")
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
    return {name: value for name, value in found.items() if name in unknown or name in catalogue.shown}
