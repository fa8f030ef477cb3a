"""Mean ranks and their test: against tables, closed forms and SciPy, and on which rows they compare."""

from __future__ import annotations

import html
import itertools
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from ncbench.data.sources.manifest import Manifest, SourceFile, load_manifest
from ncbench.leaderboard.build import build
from ncbench.leaderboard.tables.families import families
from ncbench.leaderboard.tables.rank_tests import (
    alike,
    critical_difference,
    friedman,
    holm,
    iman_davenport,
    mean_ranks,
    wilcoxon,
)
from tests.leaderboard.records import SOMEBODY, make_record, named, place, place_all, seeds

# Demšar 2006, table 5 (a): critical values of the two-tailed Nemenyi test at 0.05, for 2 to 10 methods.
NEMENYI = (1.960, 2.343, 2.569, 2.728, 2.850, 2.949, 3.031, 3.102, 3.164)

OWN = ("mnist", "colored_mnist", "fashion_mnist", "cifar10", "corrupted_cifar10", "cifar100", "svhn")

# Demšar 2006, table 6: AUC of four variants of C4.5 on 14 datasets. Those printed alike and ranked apart differ in a
# digit that is not printed (voting).
DEMSAR = (
    (0.763, 0.768, 0.771, 0.798),
    (0.599, 0.591, 0.590, 0.569),
    (0.954, 0.971, 0.968, 0.967),
    (0.628, 0.661, 0.654, 0.657),
    (0.882, 0.888, 0.886, 0.898),
    (0.936, 0.931, 0.916, 0.931),
    (0.661, 0.668, 0.609, 0.685),
    (0.583, 0.583, 0.563, 0.625),
    (0.775, 0.838, 0.866, 0.875),
    (1.000, 1.000, 1.000, 1.000),
    (0.940, 0.962, 0.965, 0.962),
    (0.619, 0.666, 0.614, 0.669),
    (0.972, 0.981, 0.9752, 0.975),
    (0.957, 0.978, 0.946, 0.970),
)

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


def test_demsars_example_gives_his_ranks_and_his_critical_difference() -> None:
    ranks, means = mean_ranks(DEMSAR)
    assert [round(mean, 3) for mean in means] == [3.143, 2.000, 2.893, 1.964]
    assert critical_difference(4, 14) == pytest.approx(1.25, abs=0.005)
    statistic, _ = friedman(ranks)
    assert statistic == pytest.approx(stats.friedmanchisquare(*zip(*DEMSAR, strict=True)).statistic)
    # His chi-squared has no correction for ties, of which mushroom is one and three datasets have a pair.
    ties = (4**3 - 4 + 3 * (2**3 - 2)) / (14 * 4 * (4**2 - 1))
    assert statistic * (1 - ties) == pytest.approx(9.28, abs=0.005)
    assert iman_davenport(9.28, 4, 14)[0] == pytest.approx(3.69, abs=0.005)
    assert iman_davenport(9.28, 4, 14)[1] < 0.05 < iman_davenport(3, 4, 14)[1]  # F(3, 39) is 2.85 at 5%, he says


def test_demsars_example_of_wilcoxons_test_refutes_equality() -> None:
    """Table 2: C4.5 against C4.5+m; he has z < -1.96, that is, T = 12 of 14 datasets, whose bound is 21."""
    differences = [round(row[1] - row[0], 3) for row in DEMSAR]
    z = (12 - 14 * 15 / 4) / math.sqrt(14 * 15 * 29 / 24)
    assert wilcoxon(differences) == pytest.approx(2 * stats.norm.cdf(z), abs=0.002)


@given(st.lists(st.integers(-40, 40).filter(bool), min_size=3, max_size=10, unique_by=abs))
@few
def test_wilcoxons_p_is_the_share_of_sign_patterns_as_extreme(differences: list[int]) -> None:
    ranks = stats.rankdata(np.abs(differences))
    sums = [
        sum(rank for rank, sign in zip(ranks, signs, strict=True) if sign > 0)
        for signs in itertools.product((-1, 1), repeat=len(ranks))
    ]
    seen = sum(rank for rank, value in zip(ranks, differences, strict=True) if value > 0)
    least = min(seen, ranks.sum() - seen)
    expected = min(1.0, 2 * np.mean([total <= least for total in sums]))
    assert wilcoxon(differences) == pytest.approx(expected)


def test_methods_that_never_differ_are_not_told_apart_by_wilcoxon() -> None:
    assert wilcoxon([0.0, 0.0, 0.0]) == 1.0


def test_holms_procedure_is_the_textbooks() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


@given(st.integers(3, 6), st.integers(3, 8))
@few
def test_blocks_that_all_agree_give_an_infinite_f(methods: int, datasets: int) -> None:
    statistic, _ = friedman([list(range(1, methods + 1))] * datasets)
    assert iman_davenport(statistic, methods, datasets) == (math.inf, 0.0)


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
    assert [len(block.variants) for block in overview.blocks] == [1, 1, 1]
    assert [(item.method, item.mean_rank) for item in overview.methods] == [("jtt", 1), ("lff", 2), ("erm", 3)]
    assert overview.incomplete == ["focal"]
    assert overview.test is not None
    assert overview.test.statistic == pytest.approx(6)
    assert (overview.test.f_statistic, overview.test.p_value, overview.untested) == (None, 0.0, "")
    assert [(pair.method, pair.p_value, pair.adjusted) for pair in overview.test.against_best] == [
        ("lff", 0.25, 0.5),
        ("erm", 0.25, 0.5),
    ]
    assert overview.test.critical_difference == pytest.approx(2.3437 * math.sqrt(12 / 18), abs=1e-3)
    assert overview.test.alike == [(0, 1), (1, 2)]


def test_too_little_for_a_test_still_gives_mean_ranks(board: Path) -> None:
    place_grid(board, {"erm": [0.3, 0.9], "lff": [0.5, 0.5]})
    (overview,) = build(board).overviews
    assert [item.mean_rank for item in overview.methods] == [1.5, 1.5]
    assert overview.test is None
    assert overview.untested == "Friedman's test takes 3 independent datasets or more, and here there are 2"
    assert f"critical difference: {overview.untested}." in html.unescape((board / "site" / "index.html").read_text())


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
            named(record)
        place_all(board, records)
    (overview,) = build(board).overviews
    assert [item.method for item in overview.methods] == ["lff", "erm"]
    assert overview.incomplete == ["jtt"]
    assert {variant.backbone for block in overview.blocks for variant in block.variants} == {"mlp"}


def test_one_dataset_is_compared_at_the_epochs_most_methods_have(board: Path) -> None:
    """A method that trained longer on one dataset is compared by its runs of the others' length, though worse."""
    place_grid(board, {"erm": [0.4, 0.4], "lff": [0.6, 0.6], "jtt": [0.5, 0.5]}, epochs=20)
    place_grid(board, {"erm": [0.9, None], "focal": [0.9, 0.9]}, epochs=100)
    built = build(board)
    (overview,) = built.overviews
    assert [(item.method, item.mean_rank) for item in overview.methods] == [("lff", 1), ("jtt", 2), ("erm", 3)]
    assert {variant.epochs for block in overview.blocks for variant in block.variants} == {20}
    assert overview.incomplete == ["focal"]
    epochs = {row.id: row.epochs for table in built.datasets for section in table.sections for row in section.rows}
    assert {epochs[row] for item in overview.methods for block in item.rows for row in block} == {20}
    assert "20 epochs" in (board / "site" / "index.html").read_text()


def test_of_two_lengths_that_as_many_methods_have_the_longer_counts(board: Path) -> None:
    for epochs, level in ((20, 0.9), (100, 0.5)):
        place_grid(board, {"erm": [level, level], "lff": [level - 0.1] * 2}, epochs=epochs)
    (overview,) = build(board).overviews
    assert [item.method for item in overview.methods] == ["erm", "lff"]
    assert {variant.epochs for block in overview.blocks for variant in block.variants} == {100}


def place_variants(board: Path, dataset: str, levels: dict[str, list[float]]) -> None:
    """Place three seeds of every method on one variant of a dataset for each level."""
    for method, row in levels.items():
        for number, level in enumerate(row):
            for record in seeds(method, level=level, dataset=dataset):
                record["dataset"]["plugin"] = SOMEBODY
                record["dataset"]["spec"] = f"{dataset}:conflict=0.0{number + 1}"
                record["dataset"]["parameters"]["conflict"] = (number + 1) / 100
                named(record)
                record["history"][0]["losses"]["loss"] += number
                place(board, record)


def test_variants_of_one_dataset_are_one_block_and_no_test(board: Path) -> None:
    """Four ratios of one dataset are averaged: their images are the same, so they are no four independent datasets."""
    place_variants(board, "data", {"erm": [0.9, 0.2, 0.2, 0.2], "lff": [0.5, 0.5, 0.5, 0.5], "jtt": [0.3] * 4})
    built = build(board)
    (overview,) = built.overviews
    (block,) = overview.blocks
    assert block.dataset == "data"
    assert [variant.dataset for variant in block.variants] == [f"data:conflict=0.0{ratio}" for ratio in (1, 2, 3, 4)]
    assert [(item.method, item.ranks) for item in overview.methods] == [("lff", [1]), ("erm", [2]), ("jtt", [3])]
    shown = {
        (row.id, table.dataset.spec): row.metrics["group_mean_accuracy"].mean
        for table in built.datasets
        for section in table.sections
        for row in section.rows
    }
    for item in overview.methods:
        specs = [variant.dataset for variant in block.variants]
        means = [shown[row, spec] for row, spec in zip(item.rows[0], specs, strict=True)]
        assert item.scores == [pytest.approx(sum(means) / 4, abs=1e-6)]
    assert overview.test is None
    assert overview.untested == (
        "Friedman's test takes 3 independent datasets or more, and here there is 1 "
        "(4 tables: variants of one dataset share their images and count as one)"
    )
    page = (board / "site" / "index.html").read_text()
    assert "Critical-difference diagram" not in page
    assert "No test and no critical difference" in page
    assert 'class="board ranks"' not in page  # of one dataset the matrix says more


def test_variants_and_other_datasets_are_tested_on_the_datasets_alone(board: Path) -> None:
    levels = {"erm": [0.3, 0.3], "lff": [0.5, 0.5], "jtt": [0.8, 0.8]}
    for dataset in ("one", "two", "three"):
        place_variants(board, dataset, levels)
    (overview,) = build(board).overviews
    assert [(block.dataset, len(block.variants)) for block in overview.blocks] == [("one", 2), ("three", 2), ("two", 2)]
    assert overview.test is not None
    assert overview.test.critical_difference == pytest.approx(critical_difference(3, 3), abs=1e-3)


def test_three_datasets_of_which_two_share_images_are_not_tested() -> None:
    own = {name: load_manifest(f"ncbench:datasets_manifest/{name}.yaml") for name in OWN}
    found = families([*own, "theirs"], own)
    assert found["mnist"] == found["colored_mnist"] == "colored_mnist"
    assert found["cifar10"] == found["corrupted_cifar10"] == "cifar10"
    assert [found[name] for name in ("cifar100", "svhn", "fashion_mnist", "theirs")] == [
        "cifar100",
        "svhn",
        "fashion_mnist",
        "theirs",
    ]


def test_two_datasets_that_share_images_with_a_third_belong_together() -> None:
    def reading(*files: str) -> Manifest:
        return load_manifest("ncbench:datasets_manifest/ufm.yaml").model_copy(
            update={"files": tuple(SourceFile(path=file, sha256=file * 64, bytes=1) for file in files)}
        )

    manifests = {"a": reading("1"), "b": reading("2"), "c": reading("2", "1"), "d": reading("3")}
    assert families(manifests, manifests) == {"a": "a", "b": "a", "c": "a", "d": "d"}
