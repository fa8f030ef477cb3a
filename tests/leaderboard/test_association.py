"""Whether collapse goes with doing well: the correlation over methods, and where there is none to speak of."""

from __future__ import annotations

import math
from array import array
from pathlib import Path

import pytest
from scipy.stats import norm, rankdata

from ncbench.leaderboard.build import build
from ncbench.leaderboard.pages.association import Association, associations
from ncbench.leaderboard.pages.matrix import matrix
from ncbench.leaderboard.tables.board import Board
from ncbench.leaderboard.tables.curves import Curve, History
from tests.leaderboard.records import place_all, seeds

METHODS = ("erm", "jtt", "lff", "focal", "disent", "lc", "ecs_ga", "mixup", "lisa", "irm", "vrex", "subsample")
VALUES = (0.4, 0.1, 0.5, 0.3, 0.9, 0.2, 0.6, 1.1, 0.8, 0.7, 1.0, 0.05)


def make(board: Path, count: int = len(METHODS)) -> Board:
    for number, method in enumerate(METHODS[:count]):
        place_all(board, seeds(method, level=0.2 + 0.05 * number))
    return build(board)


def curve(last: float, seed: int) -> Curve:
    measured = [9.0, last + 0.01 * (seed - 1)]
    return Curve((1,), array("d", measured[:1])) if math.isnan(last) else Curve((1, 2), array("d", measured))


def found(built: Board, values: dict[str, float]) -> list[Association]:
    """Return the associations where a method's NC1 is 9 first and ends at a value, a little apart for each seed."""
    histories = {
        run.record: History({"nc1": curve(values[row.method.name], run.seed)}, 2, (), None)
        for table in built.datasets
        for section in table.sections
        for row in section.rows
        for run in row.runs
    }
    return associations(matrix(built), histories)


def test_it_is_spearmans_over_methods_of_means_over_seeds(board: Path) -> None:
    built = make(board)
    (one,) = found(built, dict(zip(METHODS, VALUES, strict=True)))
    means = {row.method.name: row.metrics["group_mean_accuracy"].mean for row in built.datasets[0].sections[0].rows}
    apart = rankdata(VALUES) - rankdata([means[method] for method in METHODS])
    number = len(METHODS)
    expected = 1 - 6 * sum(apart**2) / (number * (number**2 - 1))  # without ties
    half = norm.ppf(0.975) * math.sqrt((1 + expected**2 / 2) / (number - 3))
    assert (one.measure, one.methods, one.column.epochs) == ("NC1 of the target", number, 3)
    assert one.correlation == pytest.approx(expected)
    assert (math.atanh(one.low), math.atanh(one.high)) == pytest.approx(
        (math.atanh(expected) - half, math.atanh(expected) + half), abs=1e-6
    )
    page = (board / "site" / "index.html").read_text()
    assert 'id="collapse"' not in page  # these records state no collapse


def test_a_method_that_has_no_measure_at_the_end_is_named(board: Path) -> None:
    built = make(board)
    values = dict(zip(METHODS, VALUES, strict=True))
    (whole,) = found(built, values)
    (one,) = found(built, values | {"irm": math.nan})
    assert (whole.methods, whole.without, one.methods, one.without) == (12, (), 11, ("irm",))


def test_few_methods_and_features_that_all_share_have_none(board: Path) -> None:
    assert found(make(board, 9), dict(zip(METHODS, VALUES, strict=True))) == []
    assert found(make(board), dict.fromkeys(METHODS, 0.1) | {"mixup": 0.2}) == []
