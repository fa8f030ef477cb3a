"""Every accuracy again, from the integers of a record: correct and count of each cell (target, bias)."""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ncbench.leaderboard.intake.problems import RefusedError
from ncbench.records.record import ACCURACIES, Group, Record

TOLERANCE = 1e-9

_ALIGNMENT = frozenset({"aligned_accuracy", "conflicting_accuracy"})
_RECOMPUTED = frozenset({*ACCURACIES, "balanced_error"})
_CELL = operator.attrgetter("target", "bias", "count", "correct")
_MOST_IMAGES = 10**12
_MOST_LABELS = 10**6


@dataclass(frozen=True)
class Cells:
    """The cells of one split, in the order of their labels.

    Args:
        label: (target, bias) of each cell; bias is None in all of them where the attribute is unknown.
        count: Images of each.
        correct: Correctly classified images of each.
    """

    label: Sequence[tuple[int, int | None]]
    count: Sequence[int]
    correct: Sequence[int]

    @functools.cached_property
    def shares(self) -> Sequence[float]:
        """correct / count of the cells that have images."""
        return [correct / count for correct, count in zip(self.correct, self.count, strict=True) if count]

    @property
    def bias_known(self) -> bool:
        """Whether the cells tell bias values apart."""
        return self.label[0][1] is not None


def read_cells(groups: Sequence[Group], split: str) -> Cells:
    """Check and sort the cells of a split.

    Raises:
        RefusedError: There are none, a cell comes twice, a number is beyond reason, or only some have a bias value.
    """
    rows: list[tuple[int, int | None, int, int]] = list(map(_CELL, groups))
    field = f"groups.{split}"
    if not any(row[2] for row in rows):
        raise RefusedError(field, "there are no images in it")
    biases = {row[1] for row in rows}
    if None in biases and len(biases) > 1:
        raise RefusedError(field, "the bias value is null in some cells and known in others")
    rows.sort()  # never orders a null against a number: all biases are of one kind
    targets, bias, count, correct = zip(*rows, strict=True)
    label = tuple(zip(targets, bias, strict=True))
    if len(set(label)) < len(label):
        raise RefusedError(field, "a cell (target, bias) is listed twice")
    if max(count) > _MOST_IMAGES or max(targets[-1], *(value or 0 for value in biases)) > _MOST_LABELS:
        raise RefusedError(field, "a count or a label is larger than any dataset has")
    return Cells(label, count, correct)


def recomputed_accuracies(record: Record, cells: Mapping[str, Cells]) -> dict[str, float]:
    """Recompute the accuracies of every split, compare them with the record's, and return the test split's.

    `aligned_accuracy` and `conflicting_accuracy` need to know which bias value goes along with which class. The record
    does not say, so it must be one of the two that a reader can tell from the counts: the class's own index, or the
    value most frequent with the class in training; the same for every split.

    Args:
        record: What is claimed.
        cells: By split, as :func:`read_cells` returned them.

    Returns:
        Name -> fraction in [0, 1], on the test split. The aligned and conflicting ones only where the record has them.

    Raises:
        RefusedError: A number differs from what the counts give by more than 1e-9, or cannot follow from them.
    """
    train = cells.get("train")
    plain = {split: _plain_accuracies(part, train) for split, part in cells.items()}
    for split, claimed in record.metrics.items():
        for name in claimed.keys() & (_RECOMPUTED - _ALIGNMENT):
            _compare(split, name, claimed[name], plain.get(split, {}).get(name))

    by_alignment: dict[str, dict[str, float]] = {}
    claims = [(split, name) for split in record.metrics for name in sorted(_ALIGNMENT & record.metrics[split].keys())]
    if claims:
        refusal = None
        for alignment in _possible_alignments(cells):
            by_alignment = {split: _split_by_alignment(part, alignment) for split, part in cells.items()}
            try:
                for split, name in claims:
                    _compare(split, name, record.metrics[split][name], by_alignment.get(split, {}).get(name))
                break
            except RefusedError as error:
                refusal = refusal or error
        else:
            split, name = claims[0]
            raise refusal or RefusedError(f"metrics.{split}.{name}", "no alignment follows from the counts")
    return {**plain.get("test", {}), **by_alignment.get("test", {})}


def _compare(split: str, name: str, claimed: float, computed: float | None) -> None:
    field = f"metrics.{split}.{name}"
    if computed is None:
        raise RefusedError(field, f"it cannot be recomputed from groups.{split}")
    if not abs(claimed - computed) <= TOLERANCE:
        raise RefusedError(field, f"it is {claimed!r}, but the counts give {computed!r}")


def _plain_accuracies(cells: Cells, train: Cells | None) -> dict[str, float]:
    """Return what needs no alignment; definitions as in the record's own group metrics."""
    class_count: dict[int, int] = {}
    class_correct: dict[int, int] = {}
    for (target, _), count, correct in zip(cells.label, cells.count, cells.correct, strict=True):
        class_count[target] = class_count.get(target, 0) + count
        class_correct[target] = class_correct.get(target, 0) + correct
    class_mean = _mean([class_correct[target] / count for target, count in class_count.items() if count])
    found = {
        "accuracy": sum(cells.correct) / sum(cells.count),
        "class_mean_accuracy": class_mean,
        "balanced_error": 1 - class_mean,
    }
    if not cells.bias_known:
        return found
    shares = cells.shares
    found["group_mean_accuracy"] = _mean(shares)
    found["worst_group_accuracy"] = min(shares)
    if train is not None and train.bias_known:
        train_count: Sequence[int] = train.count
        if train.label != cells.label:
            by_label = dict(zip(train.label, train.count, strict=True))
            train_count = [by_label.get(label, 0) for label in cells.label]
        weights = [weight for weight, count in zip(train_count, cells.count, strict=True) if count]
        if total := sum(weights):
            found["adjusted_accuracy"] = (
                math.fsum(weight * share for weight, share in zip(weights, shares, strict=True)) / total
            )
    return found


def _split_by_alignment(cells: Cells, alignment: Mapping[int, int]) -> dict[str, float]:
    """Return the mean over the aligned and over the conflicting cells that have images."""
    if not cells.bias_known:
        return {}
    parts: dict[str, list[float]] = {"aligned_accuracy": [], "conflicting_accuracy": []}
    aligned, conflicting = parts.values()
    filled = [label for label, count in zip(cells.label, cells.count, strict=True) if count]
    for (target, bias), share in zip(filled, cells.shares, strict=True):
        (aligned if alignment.get(target) == bias else conflicting).append(share)
    return {name: _mean(shares) for name, shares in parts.items() if shares}


def _possible_alignments(cells: Mapping[str, Cells]) -> Iterator[dict[int, int]]:
    """Yield class -> bias value: its own index where there are as many of both, and the majority in training."""
    known = [part for part in cells.values() if part.bias_known]
    targets = {target for part in known for target, _ in part.label}
    if targets and targets == {bias for part in known for _, bias in part.label}:
        yield {target: target for target in targets}
    train = cells.get("train")
    if train is not None and train.bias_known:
        largest: dict[int, int] = {}
        majority: dict[int, int] = {}
        for (target, bias), count in zip(train.label, train.count, strict=True):
            if bias is not None and count > largest.get(target, -1):
                largest[target], majority[target] = count, bias
        yield majority


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)
