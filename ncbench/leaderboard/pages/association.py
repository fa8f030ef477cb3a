"""Whether methods that collapse farther do better: the rank correlation over the methods of a column."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean

from ncbench.leaderboard.pages.matrix import Column, Matrix
from ncbench.leaderboard.tables.board import Row
from ncbench.leaderboard.tables.curves import History

MEASURES = {"nc1": "NC1 of the target", "bias_nc1": "NC1 of the bias"}
LEAST_METHODS = 10
_NORMAL_QUANTILE = 1.959964  # of 97.5 %


@dataclass(frozen=True)
class Association:
    """Spearman's correlation of a collapse measure with the primary metric, and its 95% interval, over methods.

    `without` are the labels of rows that have no such measure at the last epoch.
    """

    column: Column
    measure: str
    methods: int
    without: tuple[str, ...]
    correlation: float
    low: float
    high: float

    @property
    def verdict(self) -> str:
        """What the correlation says, in words."""
        if self.low <= 0 <= self.high:
            return "no relation is shown"
        return f"the more a method collapses, the {'worse' if self.correlation > 0 else 'better'} it does"


def associations(matrix: Matrix, histories: Mapping[str, History]) -> list[Association]:
    """Correlate, in each column with methods enough, the last collapse measure of the training images.

    Left out are rows on another run's model, whose features are that one's, and columns in which half of the rows have
    the same value: the features are frozen, and it is the backbone's. The interval is that of Bonett & Wright
    (Psychometrika 65, 2000) for Spearman's coefficient.

    Args:
        matrix: Whose rows are compared.
        histories: Path of a record -> what it states of its course.
    """
    from scipy.stats import spearmanr  # slow to import

    found = []
    for place, column in enumerate(matrix.columns):
        rows = [row for line in matrix.lines if (row := line.cells[place]) is not None and row.learns_features]
        for name, measure in MEASURES.items():
            last = {row.id: _last(row, name, histories) for row in rows}
            pairs = [
                (value, row.metrics[column.table.primary_metric].mean)
                for row in rows
                if (value := last[row.id]) is not None
            ]
            if len(pairs) < LEAST_METHODS or 2 * len({round(value, 6) for value, _ in pairs}) <= len(pairs):
                continue
            number, correlation = len(pairs), float(spearmanr(*zip(*pairs, strict=True)).statistic)
            if not math.isfinite(correlation) or abs(correlation) == 1:
                continue
            half = _NORMAL_QUANTILE * math.sqrt((1 + correlation**2 / 2) / (number - 3))
            ends = (math.tanh(math.atanh(correlation) + shift) for shift in (-half, half))
            without = tuple(row.label for row in rows if last[row.id] is None)
            found.append(Association(column, measure, number, without, correlation, *ends))
    return found


def _last(row: Row, name: str, histories: Mapping[str, History]) -> float | None:
    """Return the mean over seeds of a measure at the last epoch; None if a seed has none."""
    values = [histories[run.record].last(name) for run in row.runs]
    return None if None in values else fmean(value for value in values if value is not None)
