"""Mistakes in a class hierarchy: on every table of a dataset that has one, checked as far as a record allows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from ncbench.leaderboard.build import build
from ncbench.leaderboard.intake.heights import HEIGHTS
from ncbench.leaderboard.pages.wording import MEASURES
from ncbench.leaderboard.tables.board import Board
from ncbench_metrics import ncbench_metrics
from tests.leaderboard.records import make_record, place, place_all, seeds


def with_heights(content: dict[str, Any], severity: float) -> dict[str, Any]:
    """Add what the hierarchy's metrics measure; a right prediction is at the distance 0."""
    numbers = content["metrics"]["test"]
    wrong = 1 - numbers["accuracy"]
    numbers |= dict(zip(HEIGHTS, (severity, severity * wrong, 1.5, 2.5), strict=True))
    return content


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
    directions = {name: number.direction for card in ncbench_metrics() for name, number in card.metrics.items()}
    assert {name: measure.better for name, measure in MEASURES.items()} == {name: directions[name] for name in MEASURES}


def test_every_page_shows_severity_beside_the_accuracy_and_its_direction(tree: Path) -> None:
    build(tree)
    lines = (tree / "README.md").read_text().splitlines()
    (head,) = [line for line in lines if line.startswith("| rank")]
    (row,) = [line for line in lines if "`erm`" in line]
    headings, cells = ([cell.strip() for cell in line.split("|")] for line in (head, row))
    place_of = headings.index("accuracy")
    assert headings[place_of + 1] == "mistake severity ↓"
    assert cells[place_of + 1] == "2.333 ± 0.949"
    for name in ("index.html", "methods/erm.html"):
        page = (tree / "site" / name).read_text()
        assert "mistake severity ↓" in page
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
    place_all(board, contents)
    ((row,),) = [section.rows for table in build(board).datasets for section in table.sections]
    assert "mistake_severity" not in row.metrics
    assert "hierarchical_distance_at_1" in row.metrics


def test_mistakes_without_a_severity_are_refused(tree: Path) -> None:
    content = with_heights(seeds("jtt", 1)[0], 2.0)
    del content["metrics"]["test"]["mistake_severity"]
    place(tree, content)
    (left,) = build(tree).left_out
    assert (left.refused, left.field) == (True, "metrics.test.mistake_severity")


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("mistake_severity", 1.0, "mistake_severity and the counts give"),
        ("hierarchical_distance_at_1", 0.1, "mistake_severity and the counts give"),
        ("hierarchical_distance_at_5", -0.1, "no height is negative"),
    ],
)
def test_a_height_that_contradicts_the_counts_is_refused(tree: Path, name: str, value: float, reason: str) -> None:
    content = with_heights(seeds("jtt", 1)[0], 2.0)
    content["metrics"]["test"][name] = value
    place(tree, content)
    built = build(tree)
    assert built.counted == 3
    (left,) = built.left_out
    assert left.refused
    assert left.field.startswith("metrics.test.hierarchical_distance")
    assert reason in left.reason
