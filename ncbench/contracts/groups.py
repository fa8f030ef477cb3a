"""Groups: the cells (y, a) of target and bias attribute, their counts, and the accuracies that follow from counts.

A table of counts is (K, B): a row a class, a column a value of the bias attribute; (K, 1) where the attribute is
unknown. Several bias attributes are one here: a value of it stands for a value of each, and the values of the last
attribute run fastest (row-major). Runs, records, the leaderboard and the conformance kit compute every accuracy here,
so that the same integers give the same number wherever they are read. This module imports no torch.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import numpy as np

AGREEMENT = ("adjusted_rand_index", "conflicting_recall", "conflicting_precision")
"""What :func:`agreement` tells of inferred groups."""


def group_counts(target: np.ndarray, bias: np.ndarray | None, num_classes: int, num_bias: int) -> np.ndarray:
    """Return how many images each group (y, a) has: (K, B) int64, or (K, 1) where `bias` is None.

    Args:
        target: (N,) integer, 0..K-1.
        bias: (N,) integer, 0..B-1, or None where the attribute is unknown.
        num_classes: K.
        num_bias: B; of no matter where `bias` is None.
    """
    columns = 1 if bias is None else num_bias
    group = target.astype(np.int64)  # narrow integers would overflow
    if bias is not None:
        group = group * columns + bias
    return np.bincount(group, minlength=num_classes * columns).reshape(num_classes, columns)


def group_cells(count: np.ndarray, correct: np.ndarray, *, bias_known: bool) -> list[dict[str, int | None]]:
    """Return a table of counts as a record lists it, row by row.

    Args:
        count: (K, B) integer, images a group; (K, 1) where the bias attribute is unknown.
        correct: The same of correctly classified images.
        bias_known: Whether the attribute is known; if not, the bias of every group is None.
    """
    return [
        {
            "target": target,
            "bias": bias if bias_known else None,
            "count": int(count[target, bias]),
            "correct": int(correct[target, bias]),
        }
        for target, bias in np.ndindex(count.shape)
    ]


def ravel_attributes(values: np.ndarray, sizes: Sequence[int]) -> np.ndarray:
    """Return the value of the one bias attribute that several make up: (N, A) integer -> (N,) int64.

    >>> ravel_attributes(np.array([[0, 0], [0, 2], [1, 0]]), [2, 3])
    array([0, 2, 3])

    Args:
        values: The value of each attribute, 0..sizes[i]-1.
        sizes: How many values each of the A attributes has.
    """
    raveled: np.ndarray = np.ravel_multi_index(tuple(values.T), tuple(sizes))
    return raveled.astype(np.int64)


def attribute_names(attributes: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """Return the names of the values of the one attribute that `attributes`, name -> value names, make up.

    >>> attribute_names({"ground": ["water", "land"], "side": ["left", "right"]})[1]
    'ground=water, side=right'
    """
    if len(attributes) == 1:
        return tuple(*attributes.values())
    named = [[f"{name}={value}" for value in values] for name, values in attributes.items()]
    return tuple(", ".join(combination) for combination in itertools.product(*named)) if named else ()


def accuracies(
    count: np.ndarray,
    correct: np.ndarray,
    *,
    bias_known: bool,
    aligned_bias: Sequence[int] | None = None,
    train_count: np.ndarray | None = None,
) -> dict[str, float]:
    """Return every accuracy that follows from the counts of a split, as fractions in [0, 1].

    The accuracy of a group is correct / count.

    - `accuracy`: every image weighs the same.
    - `class_mean_accuracy`: mean over the classes that have images of the class's accuracy (macro recall);
      `balanced_error` is 1 minus it, and `worst_class_accuracy` the smallest of them.
    - `group_mean_accuracy`: mean over the groups that have images; the literature's "unbiased accuracy", and the
      "adjusted accuracy" of SubpopBench (Yang et al., ICML 2023).
    - `worst_group_accuracy`: the smallest accuracy of a group that has images (Sagawa et al., ICLR 2020).
    - `aligned_accuracy`, `conflicting_accuracy`: mean over the aligned, and over the conflicting, groups that have
      images.
    - `adjusted_accuracy`: the groups weighted by their share of the training images (Sagawa et al., ICLR 2020).
      Training groups without an image in this split drop out, and the other shares are scaled up to add to 1.

    What is not defined is left out: everything on a split without images; what needs groups where the bias attribute is
    unknown; the aligned and conflicting ones without an alignment, or without an image of that kind;
    `adjusted_accuracy` where the attribute is unknown in training or no training group has images here. A class without
    images does not count as one that is always wrong.

    Args:
        count: (K, B) integer, images a group; (K, 1) where the bias attribute is unknown.
        correct: The same of correctly classified images.
        bias_known: Whether the bias attribute of these images is known.
        aligned_bias: For each class the bias value that goes along with it in training; None if not defined.
        train_count: (K, B) integer, training images a group; None where the attribute is unknown.
    """
    if count.sum() == 0:
        return {}
    of_class = _shares(correct.sum(axis=1), count.sum(axis=1))
    found = {
        "accuracy": correct.sum() / count.sum(),
        "class_mean_accuracy": of_class.mean(),
        "worst_class_accuracy": of_class.min(),
        "balanced_error": 1 - of_class.mean(),
    }
    if bias_known:
        of_group = _shares(correct, count)
        found["group_mean_accuracy"] = of_group.mean()
        found["worst_group_accuracy"] = of_group.min()
        if aligned_bias is not None:
            aligned = np.arange(count.shape[1]) == np.asarray(aligned_bias)[:, None]  # (K, B); the others conflict
            for name, cells in (("aligned_accuracy", aligned), ("conflicting_accuracy", ~aligned)):
                if count[cells].any():
                    found[name] = _shares(correct[cells], count[cells]).mean()
        filled = count > 0
        if train_count is not None and train_count[filled].any():
            share = train_count[filled] / train_count[filled].sum()
            found["adjusted_accuracy"] = (share * correct[filled] / count[filled]).sum()
    return {name: float(value) for name, value in found.items()}


def attribute_accuracies(
    count: np.ndarray, correct: np.ndarray, attributes: Mapping[str, Sequence[str]]
) -> dict[str, float]:
    """Return what the group accuracies are by each of several attributes alone, as if the others were unknown.

    `group_mean_accuracy_NAME` and `worst_group_accuracy_NAME` are those of :func:`accuracies` over the groups (y, value
    of the attribute NAME). Nothing where there are fewer than two attributes, or no images.

    Args:
        count: (K, B) integer, images a group; B is the product of the attributes' sizes.
        correct: The same of correctly classified images.
        attributes: Name -> value names, in the order in which they are raveled.
    """
    found: dict[str, float] = {}
    if len(attributes) < 2 or count.sum() == 0:
        return found
    tables = [table.reshape(len(table), *map(len, attributes.values())) for table in (correct, count)]
    for axis, name in enumerate(attributes, start=1):
        others = tuple(other for other in range(1, len(attributes) + 1) if other != axis)
        of_group = _shares(*(table.sum(axis=others) for table in tables))
        found[f"group_mean_accuracy_{name}"] = float(of_group.mean())
        found[f"worst_group_accuracy_{name}"] = float(of_group.min())
    return found


def shortcut_gaps(
    count: np.ndarray,
    correct: np.ndarray,
    attributes: Mapping[str, Sequence[str]],
    aligned_bias: Sequence[int] | None,
    train_count: np.ndarray | None,
) -> dict[str, float]:
    """Return what is lost where some of several shortcuts mislead, as a difference of fractions (Li et al., A
    Whac-A-Mole Dilemma, CVPR 2023, section 3.2).

    `NAME_gap`, and `NAME_OTHER_gap` for two or more attributes, is the mean accuracy of the groups in which these
    attributes conflict and all others are aligned, less the `adjusted_accuracy`; it is negative where a model follows
    the shortcut. On UrbanCars these are the paper's BG gap, CoObj gap and BG+CoObj gap. Nothing where there are fewer
    than two attributes, no alignment, or no `adjusted_accuracy`.

    Args:
        count: (K, B) integer, images a group; B is the product of the attributes' sizes.
        correct: The same of correctly classified images.
        attributes: Name -> value names, in the order in which they are raveled.
        aligned_bias: For each class the bias value that goes along with it in training; None if not defined.
        train_count: (K, B) integer, training images a group; None where the attributes are unknown.
    """
    usual = accuracies(count, correct, bias_known=True, train_count=train_count).get("adjusted_accuracy")
    if len(attributes) < 2 or aligned_bias is None or usual is None:
        return {}
    sizes = tuple(map(len, attributes.values()))
    every = np.arange(count.shape[1])
    values, own = (np.stack(np.unravel_index(raveled, sizes), axis=1) for raveled in (every, aligned_bias))
    conflicts = values != own[:, None]  # (K, B, A)
    found = {}
    for misled in itertools.product((False, True), repeat=len(sizes)):
        cells = (conflicts == misled).all(axis=2)  # (K, B)
        if any(misled) and count[cells].any():
            name = "_".join(itertools.compress(attributes, misled))
            found[f"{name}_gap"] = float(_shares(correct[cells], count[cells]).mean()) - usual
    return found


def agreement(
    inferred: np.ndarray, target: np.ndarray, bias: np.ndarray, aligned_bias: Sequence[int] | None
) -> dict[str, float]:
    """Return how good inferred groups are, by the attribute that they stand in for.

    Within a class alone: groups are only ever crossed with classes, and those of one class need have nothing to do with
    those of another.

    - `adjusted_rand_index`: that of groups and attribute over the images of a class, averaged over the classes in which
      the attribute has several values (Hubert and Arabie, 1985). 1 where they are the same partition, 0 on average for
      groups drawn at random, and 0 where there is one group.
    - `conflicting_recall`, `conflicting_precision`: of the images that the groups single out as bias-conflicting: those
      of a group (class, inferred) in which conflicting images have a larger share than in their class. Where the groups
      are an error set and the rest, that is the error set of every class in which it holds more than its share. The
      precision is left out where no image is singled out.

    What is not defined is left out: the index where no class has several values, the other two without an alignment or
    without conflicting images.

    Args:
        inferred: (N,) integer, 0..G-1.
        target: (N,) integer, 0..K-1.
        bias: (N,) integer, 0..B-1.
        aligned_bias: For each class the bias value that goes along with it; None if not defined.
    """
    table = np.zeros((target.max() + 1, inferred.max() + 1, bias.max() + 1), dtype=np.int64)  # (K, G, B)
    np.add.at(table, (target, inferred, bias), 1)
    several = (table.sum(axis=1) > 0).sum(axis=1) > 1  # (K,)
    found = {}
    if several.any():
        found["adjusted_rand_index"] = float(np.mean([_adjusted_rand_index(cells) for cells in table[several]]))
    if aligned_bias is not None:
        conflicting = bias != np.asarray(aligned_bias)[target]
        cell = target * table.shape[1] + inferred
        size = table.sum(axis=2)  # (K, G)
        held = np.bincount(cell[conflicting], minlength=size.size).reshape(size.shape)
        singled = held * size.sum(axis=1, keepdims=True) > held.sum(axis=1, keepdims=True) * size
        if conflicting.any():
            found["conflicting_recall"] = float(held[singled].sum() / held.sum())
            if singled.any():
                found["conflicting_precision"] = float(held[singled].sum() / size[singled].sum())
    return found


def _adjusted_rand_index(cells: np.ndarray) -> float:
    """Return the index of two partitions, of which the first has one part a row and the second one a column."""

    def pairs(counts: np.ndarray) -> float:
        return float((counts * (counts - 1) // 2).sum())

    both, rows, columns = pairs(cells), pairs(cells.sum(axis=1)), pairs(cells.sum(axis=0))
    by_chance = rows * columns / max(pairs(cells.sum()), 1)
    most = (rows + columns) / 2
    return 1.0 if most == by_chance else (both - by_chance) / (most - by_chance)


def _shares(correct: np.ndarray, count: np.ndarray) -> np.ndarray:
    """Return correct / count of the entries with a count, as one row."""
    filled = count > 0
    shares: np.ndarray = correct[filled] / count[filled]
    return shares
