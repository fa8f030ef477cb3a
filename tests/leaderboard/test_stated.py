"""What records state and cannot be recomputed: mistakes in a class hierarchy, and the metrics of others' plugins."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from ncbench import MetricCard
from ncbench.discovery.registry import Plugin, Registered, registry
from ncbench.leaderboard.build import build
from ncbench.leaderboard.tables.board import Board
from ncbench_metrics import ncbench_metrics
from tests.leaderboard.records import dataset_pages, make_record, place, place_all, seeds, settled

OTHERS = Plugin("margin", "somebody", "1.0")
HEIGHTS = (
    "mistake_severity",
    "hierarchical_distance_at_1",
    "hierarchical_distance_at_5",
    "hierarchical_distance_at_20",
)


def with_heights(content: dict[str, Any], severity: float) -> dict[str, Any]:
    """Add what the hierarchy's metrics measure; a right prediction is at the distance 0."""
    numbers = content["metrics"]["test"]
    wrong = 1 - numbers["accuracy"]
    numbers |= dict(zip(HEIGHTS, (severity, severity * wrong, 1.5, 2.5), strict=True))
    return settled(content)


@pytest.fixture
def severities() -> list[float]:
    return [2.0, 2.25, 2.75]


@pytest.fixture
def tree(board: Path, severities: list[float]) -> Path:
    place_all(board, [with_heights(content, value) for content, value in zip(seeds("erm"), severities, strict=True)])
    return board


def test_severity_is_a_mean_over_seeds_in_heights(tree: Path, severities: list[float]) -> None:
    ((row,),) = [section.rows for table in build(tree).datasets for section in table.sections]
    estimate = row.metrics["mistake_severity"]
    low, high = stats.t.interval(0.95, 2, np.mean(severities), stats.sem(severities))
    assert (estimate.mean, estimate.low, estimate.high) == pytest.approx((np.mean(severities), low, high), abs=1e-6)
    assert [run.metrics["mistake_severity"] for run in row.runs] == severities
    assert list(row.metrics)[:5] == ["accuracy", *HEIGHTS]
    assert row.metrics["hierarchical_distance_at_20"].mean == 2.5


def test_the_board_says_which_way_a_measure_is_better_and_whether_it_was_recomputed(tree: Path) -> None:
    build(tree)
    measures = {measure["name"]: measure for measure in json.loads((tree / "leaderboard.json").read_text())["measures"]}
    assert (measures["mistake_severity"]["better"], measures["mistake_severity"]["unit"]) == ("lower", "LCA height")
    assert not measures["mistake_severity"]["recomputed"]
    assert (measures["accuracy"]["better"], measures["accuracy"]["unit"]) == ("higher", "fraction")
    described = {name: measure for card in ncbench_metrics() for name, measure in card.metrics.items()}
    for name, measure in measures.items():
        assert measure["better"] == described[name].direction
        assert measure["heading"] == described[name].label
        assert measure["meaning"] == described[name].meaning
        assert measure["decimals"] == described[name].decimals
        assert measure["recomputed"] == described[name].from_counts


def with_margin(content: dict[str, Any], value: float) -> dict[str, Any]:
    """Add what only somebody's plugin knows, beside a metric of ncbench that no table shows."""
    content["metrics"]["test"] |= {"margin_mean": value, "ece": 0.125}
    return settled(content)


def test_somebodys_metric_is_shown_by_its_name_and_said_to_be_stated(board: Path) -> None:
    place_all(board, [with_margin(content, 0.5 + seed) for seed, content in enumerate(seeds("erm"))])
    place_all(board, seeds("jtt"))
    built = build(board)
    rows = {row.method.name: row for row in built.datasets[0].sections[0].rows}
    assert rows["erm"].metrics["margin_mean"].mean == 1.5
    assert "margin_mean" not in rows["jtt"].metrics
    assert list(rows["erm"].metrics)[-1] == "margin_mean"
    assert "ece" not in {measure.name for measure in built.measures}
    (measure,) = [measure for measure in built.measures if measure.name == "margin_mean"]
    assert (measure.heading, measure.unit, measure.better, measure.recomputed) == ("margin mean", "", "neither", False)
    assert "| margin mean (stated) |" in (board / "README.md").read_text()
    for page in (dataset_pages(board), (board / "site" / "methods" / "erm.html").read_text()):
        assert "margin mean (stated)" in page


def test_a_board_knows_no_more_of_a_metric_where_its_plugin_is_installed(
    board: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = MetricCard(name="margin", summary="Margins", factory="somebody:Margin", metrics={"margin_mean": "higher"})
    found = {**registry().cards, "metrics": {**registry().cards["metrics"], "margin": [Registered(card, OTHERS)]}}
    place_all(board, [with_margin(content, 1.0) for content in seeds("erm")])
    before = build(board)
    monkeypatch.setattr(registry(), "cards", found)
    assert build(board) == before


def test_a_name_that_is_none_is_no_column_and_too_many_are_refused(board: Path) -> None:
    (content,) = seeds("erm", 1)
    content["metrics"]["test"] |= {"<script>": 1.0, "x" * 65: 1.0}
    place(board, settled(content))
    names = {measure.name for measure in build(board).measures}
    assert not names & {"<script>", "x" * 65}
    content["seed"] = 1
    content["metrics"]["test"] |= {f"mine_{number}": 1.0 for number in range(100)}
    place(board, settled(content))
    (left,) = build(board).left_out
    assert (left.refused, left.field) == (True, "metrics.test")


def test_every_page_shows_severity_beside_the_accuracy_and_its_direction(tree: Path) -> None:
    build(tree)
    lines = (tree / "README.md").read_text().splitlines()
    (head,) = [line for line in lines if line.startswith("| rank")]
    (row,) = [line for line in lines if "`erm`" in line]
    headings, cells = ([cell.strip() for cell in line.split("|")] for line in (head, row))
    place_of = headings.index("accuracy")
    assert headings[place_of + 1] == "mistake severity ↓ (stated)"
    assert cells[place_of + 1] == "2.333 ± 0.949"
    for page in (dataset_pages(tree), (tree / "site" / "methods" / "erm.html").read_text()):
        assert "mistake severity ↓ (stated)" in page
        assert '2.333</a> <span class="spread">±0.949' in page or '2.333 <span class="spread">±0.949' in page
    assert ">2.750</a>" in (tree / "site" / "methods" / "erm.html").read_text()


def test_without_a_hierarchy_no_table_has_a_column_for_it(board: Path) -> None:
    place_all(board, seeds("erm"))
    build(board)
    assert "| mistake severity" not in (board / "README.md").read_text()
    (table,) = Board.model_validate_json((board / "leaderboard.json").read_bytes()).datasets
    assert not set(HEIGHTS) & set(table.sections[0].rows[0].metrics)


def test_a_seed_without_a_mistake_leaves_the_severity_out_of_the_row(board: Path) -> None:
    contents = [with_heights(content, 2.0) for content in (*seeds("erm", 2), make_record("erm", 2, level=1.2))]
    del contents[2]["metrics"]["test"]["mistake_severity"]
    settled(contents[2])
    place_all(board, contents)
    ((row,),) = [section.rows for table in build(board).datasets for section in table.sections]
    assert "mistake_severity" not in row.metrics
    assert "hierarchical_distance_at_1" in row.metrics


def test_mistakes_without_a_severity_are_refused(tree: Path) -> None:
    content = with_heights(seeds("jtt", 1)[0], 2.0)
    del content["metrics"]["test"]["mistake_severity"]
    place(tree, settled(content))
    (left,) = build(tree).left_out
    assert (left.refused, left.field) == (True, "metrics.test.mistake_severity")


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("mistake_severity", 1.0, "mistake_severity and the counts give"),
        ("hierarchical_distance_at_1", 0.1, "mistake_severity and the counts give"),
        ("hierarchical_distance_at_5", -0.1, "from 0 to 100"),
        ("crm_accuracy", 1.5, "from 0 to 1"),
        ("hierarchical_distance_at_20", 1e300, "from 0 to 100"),
        ("ece", -0.5, "from 0 to 1"),
        ("brier", 3.0, "from 0 to 2"),
        ("somebodys", 1e300, "from -1e+100 to 1e+100"),
    ],
)
def test_a_height_that_contradicts_the_counts_is_refused(tree: Path, name: str, value: float, reason: str) -> None:
    content = with_heights(seeds("jtt", 1)[0], 2.0)
    content["metrics"]["test"][name] = value
    place(tree, settled(content))
    built = build(tree)
    assert built.counted == 3
    (left,) = built.left_out
    assert left.refused
    assert left.field.startswith(("metrics.test.hierarchical_distance", f"metrics.test.{name}"))
    assert reason in left.reason
