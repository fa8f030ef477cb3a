"""Methods over several datasets: mean ranks, the Friedman test, and Nemenyi's critical difference.

Demšar, Statistical Comparisons of Classifiers over Multiple Data Sets, JMLR 7, 2006, sections 3.2.2 and 3.2.4. A
dataset with one set of parameters is one block; within it, all methods have one backbone and one number of epochs, for
what a longer training gains is no merit of a method.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from statistics import fmean

from ncbench.leaderboard.tables.board import (
    Block,
    Comparable,
    DatasetTable,
    MeanRank,
    Overview,
    RankTest,
    Row,
    Section,
)

ALPHA = 0.05
LEAST_METHODS = 3
LEAST_DATASETS = 3
"""For a test. With three methods on two datasets no difference of mean ranks reaches the critical one."""

DIGITS = 4
"""Decimals kept of what numerical integration gives: far fewer than it has right, so that machines agree."""

Method = tuple[str, str]
"""Name and distribution. A method keeps its identity whatever its parameters: those are tuned for each dataset."""

Kind = tuple[str, int]
"""Backbone and epochs: what rows must share to be compared."""


def overviews(tables: Sequence[DatasetTable]) -> list[Overview]:
    """Compare the methods that have ranked rows on the same datasets, for each group of comparable rows.

    Args:
        tables: Every dataset's table, ranked.

    Returns:
        One overview for each combination of labels used and selection rule that has a ranked row, in their order.
    """
    groups: defaultdict[tuple[str | bool, ...], list[tuple[DatasetTable, Section]]] = defaultdict(list)
    for table in tables:
        for section in table.sections:
            if any(row.rank is not None for row in section.rows):
                groups[tuple(getattr(section, name) for name in Comparable.model_fields)].append((table, section))
    return [_overview(groups[key]) for key in sorted(groups)]


def mean_ranks(scores: Sequence[Sequence[float]]) -> tuple[list[list[float]], list[float]]:
    """Rank the methods on each dataset and average.

    Args:
        scores: (datasets, methods), higher is better.

    Returns:
        Ranks (datasets, methods), 1 is best, equals share the mean of their ranks; and the mean rank of each method.
    """
    from scipy.stats import rankdata  # here, as elsewhere in this package: it is slow to import

    ranks: list[list[float]] = [rankdata([-score for score in row]).tolist() for row in scores]
    return ranks, [fmean(column) for column in zip(*ranks, strict=True)]


def critical_difference(methods: int, datasets: int) -> float:
    """Return the difference of mean ranks from which on two methods differ at the 5% level (Nemenyi).

    q sqrt(k (k + 1) / (6 N)) with q the studentized range's quantile over sqrt(2).
    """
    from scipy.stats import studentized_range

    quantile = float(studentized_range.ppf(1 - ALPHA, methods, math.inf)) / math.sqrt(2)
    return quantile * math.sqrt(methods * (methods + 1) / (6 * datasets))


def friedman(ranks: Sequence[Sequence[float]]) -> tuple[float, float]:
    """Return the statistic, corrected for ties, and the p-value of the Friedman test.

    Args:
        ranks: (datasets, methods) of three methods or more.
    """
    from scipy.stats import friedmanchisquare

    if all(len(set(row)) == 1 for row in ranks):
        return 0.0, 1.0  # every method ties with every other everywhere, where the correction divides by zero
    statistic, p_value = friedmanchisquare(*zip(*ranks, strict=True))
    return float(statistic), float(p_value)


def alike(means: Sequence[float], difference: float) -> list[tuple[int, int]]:
    """Return the largest runs of methods that the critical difference does not tell apart.

    Args:
        means: Mean ranks, increasing.
        difference: The critical difference.

    Returns:
        First and last position of each run of two methods or more; none lies inside another.
    """
    runs: list[tuple[int, int]] = []
    for first, lowest in enumerate(means):
        last = max(position for position, value in enumerate(means) if value - lowest < difference)
        if last > first and (not runs or last > runs[-1][1]):
            runs.append((first, last))
    return runs


def _overview(members: Sequence[tuple[DatasetTable, Section]]) -> Overview:
    """Compare the methods of some sections of one group, each with its dataset's table."""
    rows = {table.dataset.spec: _one_row_a_method(table, section) for table, section in members}
    primary = {table.dataset.spec: table.primary_metric for table, _ in members}
    ranked = {_identity(row) for _, section in members for row in section.rows if row.rank is not None}
    methods, datasets = _complete(rows)
    blocks = [[rows[dataset][method] for method in methods] for dataset in datasets]
    ranks, means = mean_ranks(
        [[row.metrics[primary[dataset]].mean for row in block] for dataset, block in zip(datasets, blocks, strict=True)]
    )
    compared = [
        MeanRank(
            method=name,
            distribution=distribution,
            mean_rank=round(means[position], DIGITS),
            ranks=[row[position] for row in ranks],
            rows=[block[position].id for block in blocks],
        )
        for position, (name, distribution) in enumerate(methods)
    ]
    compared.sort(key=lambda item: item.mean_rank)  # equals stay in the order of their names
    _, section = members[0]
    return Overview(
        **{name: getattr(section, name) for name in Comparable.model_fields},
        blocks=[
            Block(dataset=dataset, backbone=block[0].backbone.spec, epochs=block[0].epochs)
            for dataset, block in zip(datasets, blocks, strict=True)
        ],
        methods=compared,
        incomplete=sorted({name for name, _ in ranked.difference(methods)}),
        test=_test(ranks, [item.mean_rank for item in compared]),
    )


def _test(ranks: Sequence[Sequence[float]], means: Sequence[float]) -> RankTest | None:
    if len(ranks) < LEAST_DATASETS or len(means) < LEAST_METHODS:
        return None
    statistic, p_value = friedman(ranks)
    difference = round(critical_difference(len(means), len(ranks)), DIGITS)
    return RankTest(
        statistic=round(statistic, DIGITS),
        p_value=round(p_value, DIGITS),
        critical_difference=difference,
        alike=alike(means, difference),
    )


def _one_row_a_method(table: DatasetTable, section: Section) -> dict[Method, Row]:
    """Return the ranked row that stands for each method, all of the backbone and the epochs that most methods have.

    The choice never looks at a result, which would be selection on test data. Where two kinds are as common, epochs
    that are not short of the published go first, then more of them. Of a method's rows of that kind: more seeds, then
    fewer parameters named, then the smallest id.
    """
    ranked = [row for row in section.rows if row.rank is not None]
    users = Counter(kind for kind, _ in {(_kind(row), _identity(row)) for row in ranked})

    def commonness(kind: Kind) -> tuple[int, bool, int, str]:
        backbone, epochs = kind
        short = table.published_epochs is not None and epochs < table.published_epochs
        return -users[kind], short, -epochs, backbone

    def preference(row: Row) -> tuple[int, int, str]:
        return -len(row.runs), row.method.spec.count("="), row.id

    usual = min(users, key=commonness, default=None)
    found: dict[Method, Row] = {}
    for row in sorted((row for row in ranked if _kind(row) == usual), key=preference):
        found.setdefault(_identity(row), row)
    return found


def _complete(tables: Mapping[str, Mapping[Method, Row]]) -> tuple[list[Method], list[str]]:
    """Return methods and datasets of which every pair has a row: those with the most pairs; empty if there are none.

    The datasets tried are those that two methods share, which finds the best in all but contrived cases, and in
    little time in every case. Enough of both for a test goes before the number of pairs.
    """
    run_on: defaultdict[Method, set[str]] = defaultdict(set)
    for dataset, rows in tables.items():
        for method in rows:
            run_on[method].add(dataset)
    sets = Counter(map(frozenset, run_on.values()))

    def users(datasets: Sequence[str]) -> int:
        return sum(count for shared, count in sets.items() if shared.issuperset(datasets))

    def size(datasets: Sequence[str]) -> tuple[bool, int, int]:
        methods = users(datasets)
        testable = methods >= LEAST_METHODS and len(datasets) >= LEAST_DATASETS
        return testable, methods * len(datasets), len(datasets)

    candidates = sorted({tuple(sorted(one & other)) for one in sets for other in sets})
    best = max((datasets for datasets in candidates if len(datasets) > 1 < users(datasets)), key=size, default=())
    return sorted(method for method, datasets in run_on.items() if best and datasets.issuperset(best)), list(best)


def _kind(row: Row) -> Kind:
    return row.backbone.spec, row.epochs


def _identity(row: Row) -> Method:
    return row.method.name, row.method.distribution
