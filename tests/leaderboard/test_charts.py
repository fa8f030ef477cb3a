"""Curves: what is kept of a history, and that whatever it holds is drawn inside the axes."""

from __future__ import annotations

import re
from array import array

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ncbench.leaderboard.pages import charts, diagram
from ncbench.leaderboard.tables.board import MeanRank, RankTest
from ncbench.leaderboard.tables.curves import POINTS, Curve, History, read_history
from ncbench.records.record import Record
from tests.leaderboard.records import make_record

PANELS = charts.panels("group_mean_accuracy", str)
many = settings(derandomize=True, deadline=None, max_examples=100)
numbers = st.floats(allow_nan=False, allow_infinity=False)
histories = st.lists(st.lists(numbers, min_size=1, max_size=60), min_size=1, max_size=4)


def history(epochs: list[int], values: list[float], metrics: tuple[str, ...]) -> History:
    curve = Curve(tuple(epochs), array("d", values))
    return History(dict.fromkeys(metrics, curve), epochs[-1], ())


def points(path: str) -> list[tuple[int, int]]:
    assert re.fullmatch(r"M-?\d+,-?\d+( -?\d+,-?\d+)*h0", path)
    return [(int(x), int(y)) for x, y in re.findall(r"(-?\d+),(-?\d+)", path)]


@given(st.sampled_from(PANELS), histories)
@many
def test_any_numbers_are_drawn_inside_the_axes(panel: charts.Panel, values: list[list[float]]) -> None:
    metrics = tuple(metric for metric, _ in panel.lines)
    chart = charts.draw(panel, [history(list(range(1, len(row) + 1)), row, metrics) for row in values])
    assert chart is not None
    for line in chart.lines:
        for path in (line.median, *line.seeds):
            for x, y in points(path):
                assert charts.LEFT <= x <= charts.RIGHT
                assert charts.TOP <= y <= charts.BOTTOM
    assert 2 <= len(chart.y_ticks) <= 8
    assert all(charts.LEFT <= tick.at <= charts.RIGHT for tick in chart.x_ticks)
    assert [tick.at for tick in chart.y_ticks] == sorted({tick.at for tick in chart.y_ticks}, reverse=True)


def test_the_median_is_over_the_epochs_all_seeds_have() -> None:
    panel = PANELS[0]
    runs = [
        history([1, 10, 100], [0.0, 0.25, 1.0], ("group_mean_accuracy",)),
        history([1, 100], [0.5, 0.5], ("group_mean_accuracy",)),
        history([1, 10, 100], [1.0, 0.75, 0.0], ("group_mean_accuracy",)),
    ]
    chart = charts.draw(panel, runs)
    assert chart is not None
    (line,) = chart.lines
    middle = (charts.TOP + charts.BOTTOM) // 2
    assert points(line.median) == [(charts.LEFT, middle), (charts.RIGHT, middle)]
    assert points(line.seeds[0])[1][0] == pytest.approx((charts.LEFT + charts.RIGHT) / 2, abs=1)
    assert len(line.seeds) == 3


def test_nothing_measured_is_nothing_drawn() -> None:
    assert charts.draw(PANELS[1], [history([1, 2], [0.1, 0.2], ("group_mean_accuracy",))]) is None


def test_a_long_history_is_thinned_from_first_to_last() -> None:
    record = make_record()
    template = record["history"][0]
    record["history"] = [
        {
            **template,
            "epoch": epoch,
            "stage": "a" if epoch <= 300 else "b",
            "metrics": {"test": {"group_mean_accuracy": epoch / 1000}},
        }
        for epoch in range(1, 1001)
    ]
    record["history"][49]["metrics"]["train"] = {"nc1": 0.5}
    found = read_history(Record.model_validate(record))
    curve = found.curves["group_mean_accuracy"]
    assert len(curve.epochs) <= POINTS
    assert (curve.epochs[0], curve.epochs[-1]) == (1, 1000)
    assert list(curve.values) == [epoch / 1000 for epoch in curve.epochs]
    assert list(curve.epochs) == sorted(set(curve.epochs))
    assert max(b / a for a, b in zip(curve.epochs[8:], curve.epochs[9:], strict=False)) < 1.5
    assert found.curves["nc1"].epochs == (50,)
    assert (found.epochs, found.stages) == (1000, (301,))


@given(st.integers(3, 40), st.randoms(use_true_random=False))
@many
def test_a_diagram_places_every_method_inside_its_box(count: int, draw: object) -> None:
    means = sorted(draw.uniform(1, count) for _ in range(count))  # type: ignore[attr-defined]
    methods = [
        MeanRank(method=f"m{number}" * 9, distribution="d", mean_rank=mean, ranks=[mean], scores=[0.5], rows=[["0"]])
        for number, mean in enumerate(means)
    ]
    test = RankTest(
        statistic=1, f_statistic=1, p_value=0.1, critical_difference=1.5, alike=[(0, count - 1)], against_best=[]
    )
    drawn = diagram.draw(methods, test)
    assert [label.full_name for label in drawn.labels] == [method.method for method in methods]
    assert all(diagram.LEFT <= label.x <= diagram.RIGHT and 0 < label.y < drawn.height for label in drawn.labels)
    assert all(len(label.name) <= 18 for label in drawn.labels)
    assert len({(label.on_left, label.y) for label in drawn.labels}) == count
    assert all(diagram.AXIS < y < drawn.labels[0].y for _, _, y in drawn.bars)
