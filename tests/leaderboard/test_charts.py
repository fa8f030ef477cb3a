"""Charts: what is kept of a history, and that what the script is given is what the records say."""

from __future__ import annotations

import json
from array import array
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ncbench.leaderboard.build import build
from ncbench.leaderboard.pages import charts
from ncbench.leaderboard.pages.wording import Wording
from ncbench.leaderboard.tables.curves import POINTS, Curve, History, read_history
from ncbench.records.record import Record
from tests.leaderboard.records import make_record, place_all, seeds

PANELS = charts.panels("group_mean_accuracy", str)
many = settings(derandomize=True, deadline=None, max_examples=100)
numbers = st.floats(-1e300, 1e300)
histories = st.lists(st.lists(numbers, min_size=1, max_size=60), min_size=1, max_size=4)


def history(epochs: list[int], values: list[float], metrics: tuple[str, ...], seconds: float | None = None) -> History:
    curve = Curve(tuple(epochs), array("d", values))
    return History(dict.fromkeys(metrics, curve), epochs[-1], (), seconds)


@given(st.sampled_from(PANELS), histories)
@many
def test_any_numbers_are_json(panel: charts.Panel, values: list[list[float]]) -> None:
    metrics = tuple(metric for metric, _ in panel.lines)
    chart = charts.curves(panel, [history(list(range(1, len(row) + 1)), row, metrics) for row in values])
    assert chart is not None
    assert json.loads(json.dumps(chart, allow_nan=False)) == chart
    for line in chart["lines"]:
        for epochs, drawn in (line["median"], *line["seeds"]):
            assert len(epochs) == len(drawn)
        assert len(line["median"][0]) == min(map(len, values))


def test_the_median_is_over_the_epochs_all_seeds_have() -> None:
    runs = [
        history([1, 10, 100], [0.0, 0.25, 1.0], ("group_mean_accuracy",)),
        history([1, 100], [0.5, 0.5], ("group_mean_accuracy",)),
        history([1, 10, 100], [1.0, 0.75, 0.0], ("group_mean_accuracy",)),
    ]
    chart = charts.curves(PANELS[0], runs)
    assert chart is not None
    (line,) = chart["lines"]
    assert line["median"] == [[1, 100], [50, 50]]
    assert line["seeds"][0] == [[1, 10, 100], [0, 25, 100]]
    assert len(line["seeds"]) == 3


def test_nothing_measured_is_nothing_drawn() -> None:
    assert charts.curves(PANELS[1], [history([1, 2], [0.1, 0.2], ("group_mean_accuracy",))]) is None


def test_rows_have_what_the_table_shows_and_what_the_records_state(board: Path) -> None:
    place_all(board, [*seeds("erm"), *seeds("jtt", 2)])
    built = build(board)
    (table,) = built.datasets
    measured = {
        run.record: history([1, 2], [1.0, 2.0 + run.seed], ("nc1",), seconds=10.0 * (1 + run.seed))
        for section in table.sections
        for row in section.rows
        for run in row.runs
    }
    chart = charts.rows(table, Wording(built), measured)
    erm, jtt = sorted(chart["rows"], key=lambda row: row["name"])
    estimate = next(row for row in table.sections[0].rows if row.method.name == "erm").metrics["accuracy"]
    assert estimate.low is not None
    assert erm["values"]["accuracy"] == pytest.approx(
        [100 * estimate.mean, 100 * (estimate.mean - estimate.low)], rel=1e-3
    )
    assert (erm["values"]["nc1"], erm["values"]["cost"]) == ([3], [20])
    assert len(jtt["values"]["accuracy"]) == 1, "two seeds have no interval"
    assert {"accuracy", "worst_group_accuracy", "nc1", "cost"} <= chart["axes"].keys()
    assert "bias_nc1" not in chart["axes"]
    assert chart["primary"] == "group_mean_accuracy"


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
    assert (found.epochs, found.stages, found.seconds) == (1000, (301,), 1.5)
