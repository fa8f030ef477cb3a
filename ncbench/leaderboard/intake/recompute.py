"""Every accuracy again, from the integers of a record: correct and count of each cell (target, bias)."""

from __future__ import annotations

import functools
import operator
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ncbench.contracts.groups import accuracies
from ncbench.leaderboard.intake.problems import RefusedError
from ncbench.records.record import Group, Record

TOLERANCE = 1e-9

Sizes = tuple[tuple[tuple[int, int | None], int], ...]
"""The cells (target, bias) of a split, in order, and the images of each."""

_BY_ALIGNMENT = frozenset({"aligned_accuracy", "conflicting_accuracy"})
_CELL = operator.attrgetter("target", "bias", "count", "correct")
_MOST_IMAGES = 10**12
_MOST_GROUPS = 10**6

Alignment = Mapping[int, int]
"""Class -> the bias value that goes along with it in training."""


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

    @property
    def bias_known(self) -> bool:
        """Whether the cells tell bias values apart."""
        return self.label[0][1] is not None

    @property
    def one_class(self) -> bool:
        """Whether all images of one class are right and none of the others, as where every prediction is that class."""
        cells = list(zip(self.label, self.count, self.correct, strict=True))
        right = {target for (target, _), _, correct in cells if correct}
        wrong = {target for (target, _), count, correct in cells if correct < count}
        return len(right) == 1 and bool(wrong) and right.isdisjoint(wrong)

    @property
    def sizes(self) -> Sizes:
        """Its cells and their images; one object for all records of the same data."""
        return _once(tuple(zip(self.label, self.count, strict=True)))


@functools.lru_cache(maxsize=256)  # an archive has many thousand records of a few datasets
def _once(sizes: Sizes) -> Sizes:
    return sizes


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
    if max(count) > _MOST_IMAGES or max(targets[-1], *(value or 0 for value in biases)) > _MOST_GROUPS:
        raise RefusedError(field, "a count or a label is larger than any dataset has")
    return Cells(label, count, correct)


def recomputed_accuracies(record: Record, cells: Mapping[str, Cells], names: Collection[str]) -> dict[str, float]:
    """Recompute the accuracies of every split, compare them with the record's, and return the test split's.

    `aligned_accuracy` and `conflicting_accuracy` need to know which bias value goes along with which class. A record
    that does not say must use one of the two alignments that a reader can tell from the counts: the class's own index,
    or the value most frequent with the class in training; the same for every split.

    Args:
        record: What is claimed.
        cells: By split, as :func:`read_cells` returned them.
        names: The metrics that follow from counts.

    Returns:
        Name -> fraction in [0, 1], on the test split. The aligned and conflicting ones only where the record has them.

    Raises:
        RefusedError: A number differs from what the counts give by more than 1e-9, or cannot follow from them.
    """
    claims = [
        (split, name, value)
        for split, claimed in record.metrics.items()
        for name, value in claimed.items()
        if name in names
    ]
    aligned = next(((split, name) for split, name, _ in claims if name in _BY_ALIGNMENT), None)
    refusals = []
    for alignment in [None] if aligned is None else _alignments(record, cells):
        found = _accuracies(cells, alignment)
        for split, name, claimed in claims:
            computed = found.get(split, {}).get(name)
            if computed is None or not abs(claimed - computed) <= TOLERANCE:
                reason = f"it is {claimed!r}, but the counts give {computed!r}"
                if computed is None:
                    reason = f"it cannot be recomputed from groups.{split}"
                refusals.append(RefusedError(f"metrics.{split}.{name}", reason))
                break
        else:
            return found.get("test", {})
    if aligned is not None:
        refusals.append(RefusedError("metrics.{}.{}".format(*aligned), "no alignment follows from the counts"))
    raise refusals[0]


def _accuracies(cells: Mapping[str, Cells], alignment: Alignment | None) -> dict[str, dict[str, float]]:
    """Return the accuracies of every split, over tables of the labels that any of them has."""
    labels = [label for part in cells.values() for label in part.label]
    row_of = {target: row for row, target in enumerate(sorted({target for target, _ in labels}))}
    biases = sorted({bias for _, bias in labels if bias is not None})
    column_of: dict[int | None, int] = {bias: column for column, bias in enumerate(biases)} | {None: 0}
    columns = max(1, len(biases))
    if len(row_of) * columns > _MOST_GROUPS:
        raise RefusedError("groups", "there are more groups (target, bias) than any dataset has")

    tables = {}
    for split, part in cells.items():
        groups = [row_of[target] * columns + column_of[bias] for target, bias in part.label]
        table = np.zeros((2, len(row_of) * columns), dtype=np.int64)
        table[:, groups] = part.count, part.correct
        tables[split] = table.reshape(2, len(row_of), columns)[:, :, : None if part.bias_known else 1]
    train_count = tables["train"][0] if "train" in cells and cells["train"].bias_known else None
    aligned = None
    if alignment is not None:
        aligned = [column_of.get(alignment.get(target, -1), -1) for target in row_of]
    return {
        split: accuracies(
            *tables[split],
            bias_known=part.bias_known,
            aligned_bias=aligned if part.bias_known else None,
            train_count=train_count if part.bias_known else None,
        )
        for split, part in cells.items()
    }


def _alignments(record: Record, cells: Mapping[str, Cells]) -> Iterator[Alignment]:
    """Yield the record's own alignment, or else the possible ones: index for index, and the majority in training."""
    if record.dataset.aligned_bias is not None:
        yield dict(enumerate(record.dataset.aligned_bias))
        return
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
