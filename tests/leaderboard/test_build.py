"""What a board says of sound records, and that it says the same every time."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from statistics import fmean

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import stats

import ncbench.leaderboard.tables.board
from ncbench.data.sources.manifest import load_manifest
from ncbench.leaderboard.build import build
from ncbench.leaderboard.intake.canonical import canonical
from ncbench.leaderboard.intake.catalogue import Catalogue
from ncbench.leaderboard.intake.entry import inspect
from ncbench.leaderboard.intake.problems import RefusedError
from ncbench.leaderboard.intake.recompute import Cells, recomputed_accuracies
from ncbench.leaderboard.pages.matrix import matrix
from ncbench.leaderboard.tables.board import Board
from ncbench.records.intervals import half_width
from ncbench.records.record import Record
from tests.leaderboard.records import (
    SOMEBODY,
    TEST,
    TRAIN,
    accuracies,
    dataset_pages,
    make_record,
    place,
    place_all,
    seeds,
    settled,
)

CHECKOUT = Path(__file__).parents[2]


def test_the_committed_schema_is_the_models() -> None:
    path = Path(ncbench.leaderboard.tables.board.__file__).with_name("leaderboard.schema.json")
    assert json.loads(path.read_text()) == Board.model_json_schema()


def test_an_empty_archive_gives_a_valid_board(board: Path) -> None:
    assert build(board).datasets == []
    assert "no records yet" in (board / "README.md").read_text()
    Board.model_validate_json((board / "leaderboard.json").read_bytes())


def test_the_same_records_give_the_same_bytes_in_whatever_order_they_were_placed(board: Path, tmp_path: Path) -> None:
    records = [*seeds(), *seeds("jtt", 4, level=0.8), make_record("lff", 0)]
    other = tmp_path / "other"
    (other / "results").mkdir(parents=True)
    place_all(board, records)
    place_all(other, reversed(records))
    for folder in (board, board, other):
        build(folder)
    first = built_files(board)
    build(board)
    assert {"leaderboard.json", "README.md", "site/index.html", "site/methods/jtt.html"} < first.keys()
    assert first == built_files(board) == built_files(other)


def built_files(board: Path) -> dict[str, bytes]:
    return {
        name: path.read_bytes()
        for path in board.rglob("*")
        if path.is_file() and not (name := path.relative_to(board).as_posix()).startswith("results/")
    }


def test_a_row_is_the_mean_over_seeds_with_a_t_interval(board: Path) -> None:
    records = seeds(count=4)
    place_all(board, records)
    (table,) = build(board).datasets
    (row,) = table.sections[0].rows
    values = [record["metrics"]["test"]["group_mean_accuracy"] for record in records]
    expected = stats.t.interval(0.95, 3, np.mean(values), stats.sem(values))
    estimate = row.metrics["group_mean_accuracy"]
    assert estimate.seeds == 4
    assert (estimate.mean, estimate.low, estimate.high) == pytest.approx((np.mean(values), *expected), abs=1e-6)
    assert [run.seed for run in row.runs] == [0, 1, 2, 3]
    for run, record in zip(row.runs, records, strict=True):
        assert json.loads((board / run.record).read_bytes()) == record


@pytest.mark.parametrize("seeds", [3, 4, 5, 10, 30, 100])
def test_the_interval_is_scipys(seeds: int) -> None:
    values = np.random.default_rng(seeds).random(seeds).tolist()
    low, high = stats.t.interval(0.95, seeds - 1, np.mean(values), stats.sem(values))
    assert half_width(values) == pytest.approx((high - low) / 2, rel=1e-9)


@given(st.lists(st.floats(0, 1), min_size=3, max_size=20))
@settings(derandomize=True, deadline=None, max_examples=50)
def test_neither_mean_nor_interval_depends_on_the_order(values: list[float]) -> None:
    assert fmean(values) == fmean(values[::-1])
    assert half_width(values) == half_width(values[::-1])
    assert half_width(values[:2]) is None


def test_fewer_than_three_seeds_have_neither_interval_nor_rank(board: Path) -> None:
    place_all(board, [*seeds("erm", 3, level=0.5), *seeds("jtt", 2, level=0.9)])
    rows = build(board).datasets[0].sections[0].rows
    assert [(row.method.name, row.rank) for row in rows] == [("erm", 1), ("jtt", None)]
    assert rows[1].metrics["accuracy"].low is None
    assert any("not ranked" in flag for flag in rows[1].flags)


def test_rows_are_ranked_within_labels_and_selection_rule_only(board: Path) -> None:
    place_all(board, seeds("erm", level=0.5))
    place_all(board, seeds("group_dro", level=0.9, supervision=("bias", "none")))
    place_all(board, seeds("jtt", level=0.7))
    sections = {
        section.train: [(row.rank, row.method.name) for row in section.rows]
        for section in build(board).datasets[0].sections
    }
    assert sections == {"none": [(1, "jtt"), (2, "erm")], "bias": [(1, "group_dro")]}


def test_the_difference_to_erm_is_paired_by_seed(board: Path) -> None:
    baseline, others = seeds("erm", 4, level=0.5), seeds("jtt", 3, level=0.7)
    place_all(board, [*baseline, *others])
    rows = {row.method.name: row for row in build(board).datasets[0].sections[0].rows}
    differences = [
        mine["metrics"]["test"]["group_mean_accuracy"] - theirs["metrics"]["test"]["group_mean_accuracy"]
        for mine, theirs in zip(others, baseline, strict=False)
    ]
    paired = rows["jtt"].versus_erm
    assert rows["erm"].versus_erm is None
    assert paired is not None
    assert paired.baseline == rows["erm"].id
    assert paired.difference.seeds == 3
    assert paired.difference.mean == pytest.approx(np.mean(differences), abs=1e-6)
    low, high = stats.t.interval(0.95, 2, np.mean(differences), stats.sem(differences))
    assert (paired.difference.low, paired.difference.high) == pytest.approx((low, high), abs=1e-6)


def test_two_shared_seeds_are_no_comparison(board: Path) -> None:
    place_all(board, [*seeds("erm", 2), *seeds("jtt", 3)])
    rows = build(board).datasets[0].sections[0].rows
    assert all(row.versus_erm is None for row in rows)


def test_rows_of_one_method_are_told_apart_by_their_settings(board: Path) -> None:
    place_all(board, [*seeds(lr=0.1), *seeds(lr=0.2)])
    rows = build(board).datasets[0].sections[0].rows
    assert {row.distinction for row in rows} == {"lr=0.1", "lr=0.2"}


def test_runs_of_fewer_epochs_are_a_row_of_their_own_that_says_so(board: Path) -> None:
    manifest = load_manifest("ncbench:datasets_manifest/colored_mnist.yaml")
    train, test = (np.diag(manifest.counts[split].classes or ()) for split in ("train", "test"))
    for count in (train, test):
        count[0, :2] += (-5, 5)
    published = manifest.recipe["epochs"]
    for epochs in (published, 20):
        place_all(
            board,
            seeds("erm", dataset="colored_mnist", train=train, test=test, epochs=epochs, evaluate_every=epochs // 4),
        )
    (table,) = build(board).datasets
    rows = {row.epochs: row for row in table.sections[0].rows}
    assert {epochs: [run.seed for run in row.runs] for epochs, row in rows.items()} == {
        20: [0, 1, 2],
        published: [0, 1, 2],
    }
    assert rows[20].flags == [f"20 of the dataset's {published} epochs"]
    assert rows[published].flags == []
    assert {row.distinction for row in rows.values()} == {""}, "the column of epochs tells them apart"
    page = dataset_pages(board)
    assert f'20 <span class="spread">of {published}</span>' in page


def test_what_a_reader_should_know_is_flagged(board: Path) -> None:
    stranger = seeds("mine", plugin=SOMEBODY)
    less = seeds("group_dro", supervision=("none", "none"))
    rerun = make_record("jtt", 0)
    rerun["method"]["plugin"]["version"] = "9.9"
    place_all(board, [*stranger, *less, rerun, *seeds("jtt")[1:]])
    flags = {row.method.name: " | ".join(row.flags) for row in build(board).datasets[0].sections[0].rows}
    assert "as its author declares" in flags["mine"]
    assert "used no bias labels of training images" in flags["group_dro"]
    assert "2 versions of the method" in flags["jtt"]


def test_a_method_unknown_here_is_grouped_by_what_it_declares(board: Path) -> None:
    place_all(board, seeds("mine", plugin=SOMEBODY, supervision=("bias", "bias")))
    (section,) = build(board).datasets[0].sections
    assert (section.train, section.val) == ("bias", "bias")


@given(
    arrays.arrays(np.int64, (3, 3), elements=st.integers(0, 50)),
    arrays.arrays(np.int64, (3, 3), elements=st.integers(0, 50)),
    st.integers(0, 2**32 - 1),
)
@settings(derandomize=True, deadline=None, max_examples=60)
def test_recomputed_accuracies_are_those_of_the_metric_plugin(count: np.ndarray, train: np.ndarray, seed: int) -> None:
    """Against the code that computes them in a run, on counts with empty cells and classes."""
    from ncbench import Evaluation
    from ncbench_metrics.group import GroupMetrics

    if not count.sum() or not train.sum():
        return
    correct = np.random.default_rng(seed).integers(0, count + 1)
    labels = [(y, a) for y in range(3) for a in range(3)]
    cells = {
        "train": Cells(labels, train.ravel().tolist(), train.ravel().tolist()),
        "test": Cells(labels, count.ravel().tolist(), correct.ravel().tolist()),
    }
    unused = np.zeros(0)
    evaluation = Evaluation(
        "test",
        3,
        3,
        unused,
        unused,
        unused,
        count,
        correct,
        train,
        range(3),  # type: ignore[arg-type]
    )
    expected = dict(GroupMetrics().compute(evaluation))
    record = Record.model_validate(make_record()).model_copy(update={"metrics": {"test": expected}})
    found = recomputed_accuracies(record, cells, expected.keys())
    assert {name: found[name] for name in expected} == pytest.approx(expected, abs=1e-12)


def test_a_record_that_names_its_alignment_is_recomputed_by_that_one_alone() -> None:
    content = make_record()
    catalogue = Catalogue.built_in()
    content["dataset"]["aligned_bias"] = [0, 1]
    assert inspect(canonical(content), catalogue).exclusion is None
    content["dataset"]["aligned_bias"] = [1, 0]
    with pytest.raises(RefusedError, match=r"metrics.test.aligned_accuracy|metrics.train.aligned_accuracy"):
        inspect(canonical(content), catalogue)


def test_counts_of_more_groups_than_a_dataset_has_are_refused_before_a_table_is_made() -> None:
    content = make_record()
    far = [{"target": n, "bias": n, "count": 1, "correct": 0} for n in range(2, 4000)]
    content["groups"]["test"] += far
    with pytest.raises(RefusedError, match="more groups"):
        inspect(canonical(content), Catalogue.built_in())


def test_an_unknown_bias_attribute_leaves_class_accuracies(board: Path) -> None:
    record = make_record()
    for split, groups in record["groups"].items():
        merged = [
            {
                "target": y,
                "bias": None,
                "count": sum(cell["count"] for cell in groups if cell["target"] == y),
                "correct": sum(cell["correct"] for cell in groups if cell["target"] == y),
            }
            for y in range(2)
        ]
        record["groups"][split] = merged
        kept = ("accuracy", "class_mean_accuracy", "balanced_error")
        record["metrics"][split] = {name: record["metrics"][split][name] for name in kept}
    record["primary_metric"] = "accuracy"
    entry = inspect(canonical(settled(record)), Catalogue.built_in())
    assert entry.exclusion is None
    assert set(entry.numbers) == {"accuracy", "class_mean_accuracy", "worst_class_accuracy"}
    assert math.isclose(entry.numbers["accuracy"], record["metrics"]["test"]["accuracy"])


def test_a_validation_rule_must_report_the_epoch_it_chooses(board: Path) -> None:
    record = make_record(selection="val_accuracy")
    for entry, score in zip(record["history"], (0.5, 0.8, 0.8), strict=True):
        entry["metrics"]["val"] = {"accuracy": score}
    told = {split: numbers for split, numbers in record["history"][1]["metrics"].items() if split != "train"}
    record["selection"]["val_accuracy"] = {"epoch": 2, "metrics": told}
    place(board, record)
    assert build(board).counted == 1


def test_neither_build_nor_help_imports_what_is_heavy() -> None:
    code = (
        "import sys, ncbench.cli.commands.leaderboard, ncbench.leaderboard.check, ncbench.leaderboard.submit;"
        "from ncbench.leaderboard.intake.catalogue import Catalogue; Catalogue.built_in();"
        "heavy = {'torch', 'matplotlib', 'sklearn', 'scipy', 'jinja2', 'pyarrow'};"
        "print(sorted(heavy & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=CHECKOUT)
    assert done.stdout.strip() == "[]"


def test_a_parameter_that_a_later_version_adds_does_not_part_its_seeds_from_older_ones(board: Path) -> None:
    older, newer = seeds(count=5)[:3], seeds(count=5)[3:]
    for content in newer:
        content["method"]["parameters"]["classifier_bias"] = True
    place_all(board, [*older, *newer])
    ((row,),) = [section.rows for table in build(board).datasets for section in table.sections]
    assert [run.seed for run in row.runs] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("right", "said"),
    [
        ([[50, 50], [0, 0]], "as if it always said the same, in 1 of 3 seeds"),
        ([[0, 0], [50, 50]], "as if it always said the same, in 1 of 3 seeds"),
        ([[50, 50], [0, 1]], ""),
        ([[50, 49], [0, 0]], ""),
        ([[50, 0], [0, 50]], ""),
        ([[0, 0], [0, 0]], ""),
        ([[50, 50], [50, 50]], ""),
    ],
)
def test_a_model_that_says_one_class_of_every_image_is_flagged(board: Path, right: list[list[int]], said: str) -> None:
    contents = seeds()
    contents[1]["metrics"]["test"] = accuracies(TEST, np.array(right), TRAIN)
    for group in contents[1]["groups"]["test"]:
        group["correct"] = right[group["target"]][group["bias"]]
    place_all(board, [contents[0], settled(contents[1]), contents[2]])
    ((row,),) = [section.rows for table in build(board).datasets for section in table.sections]
    assert len(row.runs) == 3
    assert [flag for flag in row.flags if "said the same" in flag and flag.endswith(said)] == row.flags
    assert bool(row.flags) == bool(said)


def test_a_seed_that_ran_under_another_default_is_a_row_of_its_own_that_says_so(board: Path) -> None:
    contents = seeds(count=4)
    for seed, content in enumerate(contents):
        content["method"]["parameters"] = {
            "temperature": 2.0 if seed == 1 else 1.0,
            **({"added": 1} if seed > 2 else {}),
        }
    place_all(board, contents)
    built = build(board)
    ((*rows,),) = [section.rows for table in built.datasets for section in table.sections]
    assert sorted([run.seed for run in row.runs] for row in rows) == [[0, 2, 3], [1]]
    assert len({row.id for row in rows}) == 2
    flags = [flag for row in rows for flag in row.flags if "temperature" in flag]
    assert len(flags) == 1
    assert "by another default" in flags[0]
    assert built.left_out == []


def test_records_of_other_data_are_a_table_of_their_own(board: Path) -> None:
    others = seeds("jtt", level=0.9)
    for content in others:
        content["dataset"]["fingerprint"] = "cd" * 32
    place_all(board, [*seeds("erm"), *others, *seeds("lff")])
    built = build(board)
    assert built.counted == 9
    assert sorted(table.heading for table in built.datasets) == ["toy", "toy (2)"]
    assert {table.dataset.spec for table in built.datasets} == {"toy"}
    methods = [{row.method.name for section in table.sections for row in section.rows} for table in built.datasets]
    assert {"jtt"} in methods
    assert {"erm", "lff"} in methods
    assert "<code>toy (2)</code>" in (board / "site" / "index.html").read_text()
    assert len(list((board / "site" / "datasets").iterdir())) == 2


def test_a_table_says_of_which_version_its_data_are(board: Path) -> None:
    manifest = load_manifest("ncbench:datasets_manifest/colored_mnist.yaml")
    train, test = (np.diag(manifest.counts[split].classes or []) for split in ("train", "test"))
    for count in (train, test):
        count[0, :2] += (-5, 5)  # some are conflicting
    today, old = (
        [
            make_record(method, seed, level, "colored_mnist", train=train, test=test)
            for method in ("erm", *more)
            for seed in range(3)
        ]
        for level, more in ((0.7, ("jtt",)), (0.6, ("jtt", "lff")))
    )
    for content in old:
        content["dataset"]["fingerprint"] = manifest.fingerprints["1"]["colored_mnist"]
    unpinned = seeds("erm", dataset="toy")
    for content in unpinned:
        content["dataset"]["version"] = "3 & more"  # of somebody's dataset, in the author's words
    place_all(board, [*old, *today, *unpinned])
    made = build(board)
    versions = {table.heading: (table.version, table.todays_version) for table in made.datasets}
    assert versions == {
        "colored_mnist": ("2", "2"),  # today's first
        "colored_mnist (2)": ("1", "2"),
        "toy": ("3 & more", None),
    }
    readme, page = (board / "README.md").read_text(), dataset_pages(board)
    assert "Data of `ncbench`, version `1`, which version `2` has replaced, fingerprint `aa3a969de44d`" in readme
    assert readme.count("has replaced") == page.count("has replaced") == 1
    assert "version 3 &amp; more, fingerprint" in page
    found = matrix(made)
    assert [column.table.heading for column in found.columns] == ["colored_mnist", "toy", "colored_mnist (2)"]
    assert [lead.column.table.heading for lead in found.leads] == ["colored_mnist"]
