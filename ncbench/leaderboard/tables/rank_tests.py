"""Friedman's test and what follows it: Demšar, JMLR 7, 2006, sections 3.1.3, 3.2.2 and 3.2.4."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean

ALPHA = 0.05


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


def iman_davenport(statistic: float, methods: int, datasets: int) -> tuple[float, float]:
    """Return Iman and Davenport's F of Friedman's chi-squared, which is too conservative, and its p-value.

    F = (N - 1) chi2 / (N (k - 1) - chi2), with k - 1 and (k - 1)(N - 1) degrees of freedom; infinite where all datasets
    rank the methods alike.
    """
    from scipy.stats import f

    left = datasets * (methods - 1) - statistic
    if left <= 1e-9 * datasets * (methods - 1):
        return math.inf, 0.0
    ratio = (datasets - 1) * statistic / left
    return ratio, float(f.sf(ratio, methods - 1, (methods - 1) * (datasets - 1)))


def wilcoxon(differences: Sequence[float]) -> float:
    """Return the two-sided p-value of Wilcoxon's signed-rank test; the ranks of zeros are split between the signs.

    Exact where no two differences are of one size and none is zero, else by the normal approximation.
    """
    from scipy.stats import wilcoxon as signed_rank

    if not any(differences):
        return 1.0
    sizes = {abs(difference) for difference in differences}
    exact = len(sizes) == len(differences) and 0 not in sizes
    return float(signed_rank(differences, zero_method="zsplit", method="exact" if exact else "approx").pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values corrected for their number by Holm's step-down procedure, in the order given."""
    adjusted, largest = [0.0] * len(p_values), 0.0
    for step, position in enumerate(sorted(range(len(p_values)), key=lambda index: p_values[index])):
        largest = max(largest, min(1.0, (len(p_values) - step) * p_values[position]))
        adjusted[position] = largest
    return adjusted


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
