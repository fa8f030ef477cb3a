"""What a dataset's images are by group, in words, and which accuracies that makes one and the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from ncbench.leaderboard.intake.recompute import Sizes

_NAMES = {"train": "training", "val": "validation", "test": "test"}
_MEANS = ("accuracy", "group_mean_accuracy", "class_mean_accuracy")


def composition(sizes: Mapping[str, Sizes]) -> list[str]:
    """Return how many images each split has in how large groups, a phrase each.

    Args:
        sizes: Split -> its groups, with the images of each.
    """
    along = _along(sizes["train"])
    said = [_split(name, sizes[split], along) for split, name in _NAMES.items() if split in sizes]
    return (
        [*said, "aligned are those of the bias value that most training images of their class have"] if along else said
    )


def conflicts(sizes: Mapping[str, Sizes]) -> str:
    """Return which share of the images of train and val conflict, in a few words; empty where none can.

    The test's is said where all of it does: there a mean over groups is no mean of aligned and conflicting ones.
    """
    along = _along(sizes["train"])
    shares = []
    for split in ("train", "val", "test"):
        total = sum(count for _, count in sizes.get(split, ()))
        conflicting = sum(_conflicting(sizes[split], along)) if along and total else 0
        if along and total and (split != "test" or conflicting == total):
            shares.append(f"{100 * conflicting / total:.{'0f' if 10 * conflicting > total else '2g'}}% of {split}")
    return f"conflicting: {', '.join(shares)}" if shares else ""


def same_means(test: Sizes) -> tuple[str, ...]:
    """Return the accuracies that are one and the same on a test split, since its groups are of one size; else none."""
    groups = Counter(target for (target, _), _ in test)
    if len({count for _, count in test}) > 1 or len({*groups.values()}) > 1 or len(test) < 2:
        return ()
    return _MEANS


def _along(train: Sizes) -> Mapping[int, int | None]:
    """Return the bias value that most training images of each class have; empty where a class has no such value."""
    found: dict[int, int | None] = {}
    for target in {target for (target, _), _ in train}:
        of_class = Counter({bias: count for (other, bias), count in train if other == target})
        usual, most = of_class.most_common(1)[0]
        if usual is None or 2 * most <= of_class.total():
            return {}
        found[target] = usual
    return found


def _split(name: str, sizes: Sizes, along: Mapping[int, int | None]) -> str:
    filled = tuple((label, count) for label, count in sizes if count)
    said = f"{sum(count for _, count in filled):,} {name} images"
    if filled[0][0][1] is None:
        return f"{said} in {len(filled)} classes of {_between([count for _, count in filled])}"
    usual = [count for (target, bias), count in filled if along.get(target, -1) == bias]
    others = _conflicting(filled, along)
    parts = [
        f"{len(counts)} {kind}groups of {_between(counts)}"
        for kind, counts in (("aligned ", usual), ("conflicting " if along else "", others))
        if counts
    ]
    return f"{said} in {' and '.join(parts)}"


def _conflicting(sizes: Sizes, along: Mapping[int, int | None]) -> list[int]:
    """Return the images of each group whose bias value is not the one that goes along with its class."""
    return [count for (target, bias), count in sizes if along.get(target, -1) != bias]


def _between(counts: Sequence[int]) -> str:
    least, most = min(counts), max(counts)
    return f"{most:,}" if least == most else f"{least:,} to {most:,}"
