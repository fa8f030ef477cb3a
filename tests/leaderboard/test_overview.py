"""Mean ranks and their test: against tables, closed forms and SciPy, and on which rows they compare."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from ncbench.leaderboard.build import build
from ncbench.leaderboard.tables.overview import alike, critical_difference, friedman, mean_ranks
from tests.leaderboard.records import SOMEBODY, make_record, place_all, seeds

# Demšar 2006, table 5 (a): critical values of the two-tailed Nemenyi test at 0.05, for 2 to 10 methods.
NEMENYI = (1.960, 2.343, 2.569, 2.728, 2.850, 2.949, 3.031, 3.102, 3.164)

few = settings(derandomize=True, deadline=None, max_examples=50)
scores = st.integers(3, 6).flatmap(
    lambda methods: st.lists(st.lists(st.integers(0, 4), min_size=methods, max_size=methods), min_size=3, max_size=8)
)


@pytest.mark.parametrize(("methods", "quantile"), list(enumerate(NEMENYI, start=2)))
def test_the_critical_difference_has_the_tabulated_quantile(methods: int, quantile: float) -> None:
    for datasets in (3, 14):
        expected = quantile * math.sqrt(methods * (methods + 1) / (6 * datasets))
        assert critical_difference(methods, datasets) == pytest.approx(expected, abs=0.001 * expected)


@given(scores)
@few
def test_ranks_are_scipys_with_the_best_first(values: list[list[int]]) -> None:
    ranks, means = mean_ranks(values)
    expected = [stats.rankdata([-value for value in row]) for row in values]
    np.testing.assert_array_equal(ranks, expected)
    np.testing.assert_allclose(means, np.mean(expected, axis=0))


@given(st.integers(3, 6), st.integers(3, 8), st.randoms(use_true_random=False))
@few
def test_friedmans_statistic_is_the_closed_form_where_nothing_ties(methods: int, datasets: int, draw: object) -> None:
    ranks = [draw.sample(range(1, methods + 1), methods) for _ in range(datasets)]  # type: ignore[attr-defined]
    means = np.mean(ranks, axis=0)
    expected = 12 * datasets / (methods * (methods + 1)) * (np.sum(means**2) - methods * (methods + 1) ** 2 / 4)
    statistic, p_value = friedman(ranks)
    assert statistic == pytest.approx(expected, abs=1e-9)
    assert p_value == pytest.approx(stats.chi2.sf(expected, methods - 1), abs=1e-9)


def test_methods_that_always_tie_are_not_told_apart() -> None:
    assert friedman([[2.0, 2.0, 2.0]] * 4) == (0.0, 1.0)


@given(st.lists(st.floats(1, 10), min_size=2, max_size=8).map(sorted), st.floats(0.1, 5))
@few
def test_runs_cover_exactly_the_pairs_closer_than_the_difference(means: list[float], difference: float) -> None:
    runs = alike(means, difference)
    joined = {(a, b) for first, last in runs for a in range(first, last + 1) for b in range(a + 1, last + 1)}
    pairs = [(a, b) for a in range(len(means)) for b in range(a + 1, len(means))]
    assert joined == {(a, b) for a, b in pairs if means[b] - means[a] < difference}
    assert all(not (one[0] <= other[0] and other[1] <= one[1]) for one in runs for other in runs if one != other)


def place_grid(board: Path, levels: dict[str, list[float | None]], **options: object) -> None:
    """Place three seeds of every method on every dataset that has a level for it."""
    for method, row in levels.items():
        for number, level in enumerate(row):
            if level is not None:
                records = seeds(method, level=level, dataset=f"data{number}", **options)
                for record in records:
                    record["dataset"]["plugin"] = SOMEBODY
                place_all(board, records)


def test_methods_are_compared_on_the_datasets_all_of_them_have(board: Path) -> None:
    place_grid(
        board,
        {
            "erm": [0.3, 0.3, 0.3, 0.3],
            "lff": [0.5, 0.5, 0.5, None],
            "jtt": [0.8, 0.8, 0.8, 0.8],
            "focal": [0.9] + 3 * [None],
        },
    )
    (overview,) = build(board).overviews
    assert [block.dataset for block in overview.blocks] == ["data0", "data1", "data2"]
    assert [(item.method, item.mean_rank) for item in overview.methods] == [("jtt", 1), ("lff", 2), ("erm", 3)]
    assert overview.incomplete == ["focal"]
    assert overview.test is not None
    assert overview.test.statistic == pytest.approx(6)
    assert overview.test.critical_difference == pytest.approx(2.3437 * math.sqrt(12 / 18), abs=1e-3)
    assert overview.test.alike == [(0, 1), (1, 2)]


def test_too_little_for_a_test_still_gives_mean_ranks(board: Path) -> None:
    place_grid(board, {"erm": [0.3, 0.9], "lff": [0.5, 0.5]})
    (overview,) = build(board).overviews
    assert [item.mean_rank for item in overview.methods] == [1.5, 1.5]
    assert overview.test is None
    assert "No test and no diagram" in (board / "site" / "index.html").read_text()


def test_nothing_shared_is_said(board: Path) -> None:
    place_grid(board, {"erm": [0.3, None], "lff": [None, 0.5]})
    (overview,) = build(board).overviews
    assert (overview.methods, overview.blocks, overview.incomplete) == ([], [], ["erm", "lff"])
    assert "Nothing to compare yet" in (board / "site" / "index.html").read_text()


def test_unranked_rows_and_other_groups_are_not_compared(board: Path) -> None:
    place_grid(board, {"erm": [0.3, 0.3], "lff": [0.5, 0.5]})
    place_grid(board, {"group_dro": [0.9, 0.9]}, supervision=("bias", "none"))
    place_all(board, [make_record("jtt", seed, level=0.9, dataset="data0", plugin=SOMEBODY) for seed in range(2)])
    found = {overview.train: [item.method for item in overview.methods] for overview in build(board).overviews}
    assert found == {"none": ["lff", "erm"], "bias": []}


def test_the_row_that_stands_for_a_method_is_not_chosen_by_its_result(board: Path) -> None:
    """Of two recipes the one with more seeds counts, though the other is better."""
    place_grid(board, {"erm": [0.5, 0.5], "lff": [0.6, 0.6]})
    for number in range(2):
        for options in ({"count": 4, "level": 0.3}, {"count": 3, "level": 0.9}):
            records = seeds("jtt", dataset=f"data{number}", lr=options["level"], **options)
            for record in records:
                record["dataset"]["plugin"] = SOMEBODY
            place_all(board, records)
    (overview,) = build(board).overviews
    assert [(item.method, item.mean_rank) for item in overview.methods] == [("lff", 1), ("erm", 2), ("jtt", 3)]


def test_one_dataset_is_compared_on_the_backbone_most_methods_have(board: Path) -> None:
    place_grid(board, {"erm": [0.3, 0.3], "lff": [0.5, 0.5]})
    for number in range(2):
        records = seeds("jtt", level=0.9, dataset=f"data{number}")
        for record in records:
            record["dataset"]["plugin"] = SOMEBODY
            record["backbone"] |= {"name": "resnet18", "spec": "resnet18"}
        place_all(board, records)
    (overview,) = build(board).overviews
    assert [item.method for item in overview.methods] == ["lff", "erm"]
    assert overview.incomplete == ["jtt"]
    assert {block.backbone for block in overview.blocks} == {"mlp"}


def test_one_dataset_is_compared_at_the_epochs_most_methods_have(board: Path) -> None:
    """A method that trained longer on one dataset is compared by its runs of the others' length, though worse."""
    place_grid(board, {"erm": [0.4, 0.4], "lff": [0.6, 0.6], "jtt": [0.5, 0.5]}, epochs=20)
    place_grid(board, {"erm": [0.9, None], "focal": [0.9, 0.9]}, epochs=100)
    built = build(board)
    (overview,) = built.overviews
    assert [(item.method, item.mean_rank) for item in overview.methods] == [("lff", 1), ("jtt", 2), ("erm", 3)]
    assert {block.epochs for block in overview.blocks} == {20}
    assert overview.incomplete == ["focal"]
    epochs = {row.id: row.epochs for table in built.datasets for section in table.sections for row in section.rows}
    assert {epochs[row] for item in overview.methods for row in item.rows} == {20}
    assert "20 epochs" in (board / "site" / "index.html").read_text()


def test_of_two_lengths_that_as_many_methods_have_the_longer_counts(board: Path) -> None:
    for epochs, level in ((20, 0.9), (100, 0.5)):
        place_grid(board, {"erm": [level, level], "lff": [level - 0.1] * 2}, epochs=epochs)
    (overview,) = build(board).overviews
    assert [item.method for item in overview.methods] == ["erm", "lff"]
    assert {block.epochs for block in overview.blocks} == {100}
