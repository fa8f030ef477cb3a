"""What a record states and cannot be recomputed: it counts the images that are right, and holds nothing of the others.

What can be told all the same is checked: every number's range, by the metrics' cards, those of chosen epochs, by the
history, and one identity that ties the heights of mistakes in a class hierarchy to the counts. Of a search, its draws
can be made again.
"""

from __future__ import annotations

from collections.abc import Mapping, Set

from ncbench.leaderboard.intake.catalogue import BUILT_IN, Catalogue
from ncbench.leaderboard.intake.files import is_folder_name
from ncbench.leaderboard.intake.problems import RefusedError
from ncbench.leaderboard.intake.recompute import TOLERANCE
from ncbench.records.record import Record
from ncbench.training.selection import Criterion

SEVERITY = "mistake_severity"
DISTANCE = "hierarchical_distance_at_1"
MOST_UNKNOWN = 16
"""Metrics of others' plugins that a record may state of its test split: each is a column for everybody."""

LARGEST = 1e100
"""No number of a run comes near it, and the square of it is a number still."""

_SLACK = 1e-6  # what is computed in single precision may be beyond its bounds by as much
_ANY = (-LARGEST, LARGEST)
_AMOUNT = (0.0, LARGEST)


def check_ranges(record: Record, bounds: Mapping[str, tuple[float, float]]) -> None:
    """Check that every number is what such a number can be, wherever in the record it stands.

    Args:
        record: What is claimed.
        bounds: Metric -> the least and the largest that it can be; nothing is known of any other.

    Raises:
        RefusedError: A number is out of its range.
    """
    _check(record.timing, "timing", {}, _AMOUNT)
    _check(record.report, "report", {})
    for split, numbers in record.metrics.items():
        _check(numbers, f"metrics.{split}", bounds)
    for criterion, chosen in record.selection.items():
        for split, numbers in chosen.metrics.items():
            _check(numbers, f"selection.{criterion}.{split}", bounds)
    for entry in record.history:
        place = f"history.{entry.epoch - 1}"
        if not 0 <= entry.lr <= LARGEST:
            raise RefusedError(f"{place}.lr", f"it is {entry.lr!r}, and a learning rate is no less than 0")
        _check(entry.seconds, f"{place}.seconds", {}, _AMOUNT)
        _check({name: loss for name, loss in entry.losses.items() if loss is not None}, f"{place}.losses", {})
        for split, numbers in entry.metrics.items():
            _check(numbers, f"{place}.metrics.{split}", bounds)


def check_chosen_metrics(record: Record, recomputed: Set[str], refits: bool = False) -> None:
    """Check the metrics of every chosen epoch, and those of the model that a completed run reports, by the history.

    Args:
        record: What is claimed.
        recomputed: The metrics that follow from counts, which are measured at every evaluation.
        refits: Whether the method is known to fit something on after training; what others' plugins do is not known.

    Raises:
        RefusedError: They differ.
    """
    refits = refits or not record.history or record.method.plugin.distribution != BUILT_IN
    if record.status != "completed":
        return
    for criterion, chosen in record.selection.items():
        place = f"selection.{criterion}"
        if "train" in record.fitted and refits:
            if chosen.metrics != {split: numbers for split, numbers in record.metrics.items() if split != "train"}:
                raise RefusedError(f"{place}.metrics", "they are not those of the model that was fitted then")
            continue
        if not 1 <= chosen.epoch <= len(record.history):
            raise RefusedError(f"{place}.epoch", f"it is {chosen.epoch}, but the history has {len(record.history)}")
        stood = record.history[chosen.epoch - 1].metrics
        if chosen.metrics != {split: numbers for split, numbers in stood.items() if split != "train"}:
            raise RefusedError(f"{place}.metrics", f"they are not those of epoch {chosen.epoch} in the history")
        if criterion != record.recipe["selection"] or refits:
            continue
        for split, numbers in record.metrics.items():
            then_stood = stood.get(split, {})
            # After the last epoch every family of metrics is measured, at others those that are costly may not be.
            measured = numbers.keys() if chosen.epoch == len(record.history) else numbers.keys() & recomputed
            missing = measured - then_stood.keys() if split != "train" else set()
            if missing:
                raise RefusedError(f"metrics.{split}.{min(missing)}", f"epoch {chosen.epoch} of the history has none")
            for name, then in then_stood.items():
                stated = numbers.get(name)
                if stated is None or not abs(stated - then) <= TOLERANCE * max(1, abs(then)):
                    raise RefusedError(
                        f"metrics.{split}.{name}",
                        f"it is {stated!r}, but {then!r} at epoch {chosen.epoch}, which {criterion} chose",
                    )


def check_settings(record: Record, criteria: Mapping[str, Criterion]) -> None:
    """Check what a record says of where its settings come from, and of the search that chose some, if one did.

    Raises:
        RefusedError: It contradicts itself or the run, or went by labels or images that the run does not say.
    """
    has = {*record.settings, *(f"method.{key}" for key in record.method.parameters), "backbone"}
    unknown = set() if record.settings_from is None else {*record.settings_from.changed} - has
    if unknown:
        raise RefusedError("settings_from.changed", f"the run has no {min(unknown)!r}")
    search = record.search
    if search is None:
        return
    criterion = criteria.get(search.criterion)
    if not search.criterion.isprintable() or search.criterion == "last":
        raise RefusedError("search.criterion", "it is no metric of the validation split")
    if criterion is not None and criterion.needs_bias and record.method.supervision.val != "bias":
        raise RefusedError("method.supervision.val", f"a search by {search.criterion} uses bias labels; it is 'bias'")
    if "val" in record.fitted:
        raise RefusedError("search.criterion", "what is fitted on validation images cannot be chosen by them")
    if criterion is not None and record.status == "completed" and criterion.metric not in record.metrics.get("val", {}):
        raise RefusedError("search.criterion", f"the run itself has no {search.criterion}")
    if (wrong := search.contradiction(record.method.parameters, record.settings)) is not None:
        raise RefusedError(f"search.{wrong[0]}", wrong[1])


def _check(
    numbers: Mapping[str, float],
    place: str,
    bounds: Mapping[str, tuple[float, float]],
    otherwise: tuple[float, float] = _ANY,
) -> None:
    # By far the most are between 0 and 1, which every number may be; an archive has millions of them.
    if not numbers or (min(numbers.values()) >= 0 and max(numbers.values()) <= 1):
        return
    for name, value in numbers.items():
        least, largest = bounds.get(name, otherwise)
        if not (least - _SLACK <= value <= largest + _SLACK and -LARGEST <= value <= LARGEST):
            raise RefusedError(f"{place}.{name}", f"it is {value!r}, and can be from {least:g} to {largest:g}")


def stated_numbers(record: Record, accuracies: Mapping[str, float], catalogue: Catalogue) -> dict[str, float]:
    """Return what a record states of its test split and tables show, by metric.

    A right prediction has the distance 0 in the hierarchy, so that the distance at 1 is the severity times the share of
    mistakes.

    Args:
        record: What is claimed.
        accuracies: Of the test split, recomputed.
        catalogue: The cards that describe metrics.

    Raises:
        RefusedError: Severity and distance contradict the counts, or there are too many.
    """
    claimed = record.metrics.get("test", {})
    found = {name: value for name, value in claimed.items() if name not in accuracies and is_folder_name(name)}
    unknown = found.keys() - catalogue.measures.keys()
    if len(unknown) > MOST_UNKNOWN:
        raise RefusedError("metrics.test", f"{len(unknown)} are not ncbench's, and {MOST_UNKNOWN} may be")
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
