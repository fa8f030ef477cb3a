"""The results of many runs: read, in a data frame, and as tables for papers and programs."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

import ncbench
from ncbench import ConfigurationError, DataError
from ncbench.records.archive import RunResult, write_result
from ncbench.records.markup import html_table, latex
from ncbench.records.record import Record
from ncbench.records.results import Results
from tests.leaderboard.records import make_record

Cli = Callable[..., tuple[int, str, str]]


def of(folder: Path, *records: dict[str, Any]) -> Results:
    """Write records into run folders, and read them as a user does."""
    for number, record in enumerate(records):
        (folder / f"run-{number}").mkdir(parents=True)
        write_result(RunResult(Record.model_validate(record), folder / f"run-{number}"))
    return ncbench.load_results(folder)


@pytest.fixture
def results(tmp_path: Path) -> Results:
    """Two methods, three seeds each; the second is better."""
    erm = [make_record("erm", seed, 0.6) for seed in range(3)]
    dro = [make_record("group_dro", seed, 0.8, supervision=("bias", "none")) for seed in range(3)]
    return of(tmp_path / "runs", *erm, *dro)


def cells(markdown: str, method: str) -> list[str]:
    (line,) = [line for line in markdown.splitlines() if line.startswith(f"| `{method}")]
    return [cell.strip() for cell in line.strip("|").split(" | ")]


def test_a_damaged_record_among_others_is_left_out_and_said(tmp_path: Path) -> None:
    result = ncbench.run("erm", set={"recipe.epochs": 1}, output=tmp_path, warn=str)
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    (damaged / "result.json").write_text(result.path.read_text()[:100])
    said: list[str] = []
    (found,) = ncbench.load_results(tmp_path, said.append)
    assert found.path == result.path
    assert len(said) == 1
    assert said[0].startswith(f"Skipped damaged: {damaged / 'result.json'} is not a valid record: ")
    with pytest.raises(DataError, match="is not a valid record"):
        ncbench.load_results([tmp_path, damaged])


def test_a_frame_has_a_row_for_each_run_with_everything_it_was_set_to(results: Results) -> None:
    frame = results.to_frame()
    assert list(frame.columns[:9]) == [
        *("method", "dataset", "groups", "backbone", "seed", "status", "caveat", "run_id", "folder")
    ]
    assert len(frame) == len(results) == 6
    assert set(frame["recipe.epochs"]) == {3}
    for row, result in zip(frame.to_dict("records"), results, strict=True):
        assert row["method"] == result.record.method.spec
        assert row["test.accuracy"] == result.metrics["test"]["accuracy"]
        assert row["train.worst_group_accuracy"] == result.metrics["train"]["worst_group_accuracy"]
        assert ncbench.load_result(row["folder"]).record == result.record


def test_what_a_run_does_not_have_is_missing_from_its_row(tmp_path: Path) -> None:
    failed = {**make_record("lff"), "status": "failed", "reason": "it did", "metrics": {}, "selection": {}}
    shrunk = make_record("erm")
    shrunk["method"]["parameters"] = {"width": 2}
    frame = of(tmp_path, shrunk, failed).to_frame()
    assert frame["method.width"].isna().tolist() == [False, True]
    assert frame["test.accuracy"].isna().tolist() == [False, True]


def test_what_inferred_groups_is_no_row_unless_it_is_named(tmp_path: Path) -> None:
    inference = make_record("erm")
    inference["method"]["kind"] = "groups"
    assert len(of(tmp_path, make_record("erm", 1), inference)) == 1
    assert len(ncbench.load_results([tmp_path / "run-1"])) == 1


def test_results_are_a_sequence(results: Results) -> None:
    assert [run.record.seed for run in results[1:4]] == [1, 2, 0]
    assert isinstance(results[:2], Results)
    assert results[-1] in results


def test_a_folder_without_records_is_refused(tmp_path: Path) -> None:
    (tmp_path / "started").mkdir()
    with pytest.raises(DataError, match="has a record yet"):
        ncbench.load_results(tmp_path, warn=lambda message: None)


def test_what_is_shown_in_a_notebook_is_short_and_escaped(results: Results, tmp_path: Path) -> None:
    assert re.fullmatch(r"<Results: 6 runs of 2 configurations on 1 dataset; 6 completed>", repr(results))
    one = results[0]
    assert "erm on toy, seed 0: completed, test group_mean_accuracy 0." in repr(one)
    assert len(repr(one)) < 400
    assert repr(one.record) == f"Record({one.record.run_id!r}, 'completed')"
    hostile = make_record("erm")
    hostile["method"]["spec"] = "<script>alert(1)</script>"
    shown = of(tmp_path / "hostile", hostile)
    for page in (shown._repr_html_(), shown[0]._repr_html_()):
        assert "<script" not in page
        assert "&lt;script&gt;" in page
        assert len(page) < 4000
    assert "<b>" not in html_table("<b>", ["<b>"], [["<b>"]])


def test_a_table_has_means_and_intervals_over_seeds_and_the_best_in_bold(results: Results) -> None:
    table = results.export("markdown")
    heading = next(line for line in table.splitlines() if line.startswith("| method"))
    columns = [cell.strip() for cell in heading.strip("|").split("|")]
    assert columns == ["method", "bias labels", "seeds", "accuracy (%) ↑", "group mean (%) ↑", "worst group (%) ↑"]
    values = 100 * np.array([run.metrics["test"]["worst_group_accuracy"] for run in results[3:]])
    low, high = stats.t.interval(0.95, 2, loc=values.mean(), scale=stats.sem(values))
    best = cells(table, "group_dro")
    assert best[:3] == ["`group_dro`", "train", "3"]
    assert best[-1] == f"**{values.mean():.2f}** ± {(high - low) / 2:.2f}"
    assert "**" not in "".join(cells(table, "erm"))
    assert "half the 95% interval of the mean (Student's t), of the last epoch. Best in bold." in table


def test_the_best_is_the_lowest_where_lower_is_better_and_nobody_where_neither_is(results: Results) -> None:
    table = results.export("markdown", metrics=["balanced_error"])
    assert "balanced error (%) ↓" in table
    assert "**" in cells(table, "group_dro")[-1]  # of which more images are correct
    assert "**" not in cells(table, "erm")[-1]
    assert "**" not in results.export("markdown", metrics=["nc1"])
    assert "**" not in results[:3].export("markdown")  # alone, it is better than nobody


def test_all_that_look_the_same_are_best(tmp_path: Path) -> None:
    same = [make_record("erm", level=2), make_record("lff", level=2)]
    table = of(tmp_path / "three", *same, make_record("jtt")).export("markdown")
    assert cells(table, "erm")[3:] == cells(table, "lff")[3:] == ["**100.00**"] * 3
    assert "±" not in table  # of a single seed
    assert "**" not in of(tmp_path / "two", *same).export("markdown")  # none looks worse


def test_seeds_that_did_not_complete_are_said_and_never_best(tmp_path: Path) -> None:
    diverged = {**make_record("lff", 1, 0.9), "status": "diverged", "reason": "the loss is not finite"}
    table = of(tmp_path, make_record("erm", 0, 0.5), make_record("lff", 0, 0.9), diverged).export("markdown")
    assert cells(table, "lff")[2] == "1 of 2"
    assert "**" not in table
    assert "did not complete" in table


def test_a_seed_run_twice_is_one_seed(results: Results) -> None:
    twice = Results((*results, *results))
    assert twice.export("markdown") == results.export("markdown")


def test_rows_say_what_tells_them_apart(tmp_path: Path) -> None:
    other = make_record("erm", epochs=2)
    other["backbone"]["spec"] = "mlp:depth=1"
    table = of(tmp_path, make_record("erm"), make_record("erm", lr=0.5), other, make_record("lff", dataset="toy2"))
    names = [line.split("|")[1].strip() for line in table.export("markdown").splitlines() if line.startswith("|")]
    assert names == [
        *("method", ":--", "`erm, mlp (lr=0.001)`"),
        *("`erm, mlp (lr=0.5)`", "`erm, mlp:depth=1`"),
        *("method", ":--", "`lff`"),
    ]


def test_rows_that_trained_longer_or_chose_the_epoch_otherwise_say_so(tmp_path: Path) -> None:
    longer, chosen = make_record("lff", epochs=7), make_record("jtt", epochs=7)
    chosen["recipe"]["selection"] = "val_accuracy"
    same = of(tmp_path / "same", make_record("erm"), make_record("focal"))
    assert "epochs" not in same.export("markdown").splitlines()[2]
    mixed = of(tmp_path / "mixed", make_record("erm"), longer, chosen)
    head, _, *rows = [line for line in mixed.export("markdown").splitlines() if line.startswith("|")]
    names = [cell.strip() for cell in head.strip("|").split("|")]
    assert names[:5] == ["method", "bias labels", "epochs", "epoch chosen by", "seeds"]
    shown = [[cell.strip() for cell in row.strip("|").split("|")][2:4] for row in rows]
    epochs = make_record("erm")["recipe"]["epochs"]
    assert shown == [[str(epochs), "last"], ["7", "last"], ["7", "val_accuracy"]]
    assert r"method & bias labels & epochs & epoch chosen by & seeds" in mixed.export("latex")
    told = {(row["method"], row["epochs"], row["selection"]) for row in json.loads(mixed.export("json"))}
    assert told == {("erm", epochs, "last"), ("lff", 7, "last"), ("jtt", 7, "val_accuracy")}


def test_numbers_for_programs_are_not_rounded(results: Results) -> None:
    entries = json.loads(results.export("json"))
    lines = list(csv.DictReader(io.StringIO(results.export("csv"))))
    assert [list(entry) for entry in entries] == [list(line) for line in lines]
    for entry, line in zip(entries, lines, strict=True):
        assert {key: "" if value is None else str(value) for key, value in entry.items()} == line
    (worst,) = [each for each in entries if (each["method"], each["metric"]) == ("erm", "worst_group_accuracy")]
    values = [run.metrics["test"]["worst_group_accuracy"] for run in results[:3]]
    assert worst["mean"] == pytest.approx(np.mean(values), abs=1e-15)
    assert worst["standard_deviation"] == pytest.approx(np.std(values, ddof=1), abs=1e-15)
    assert (worst["seeds"], worst["completed"], worst["split"], worst["bias_labels"]) == (3, 3, "test", "none")


def test_latex_is_a_booktabs_table(results: Results) -> None:
    text = results.export("latex", metrics=["worst_group_accuracy", "nc1"])
    for command in ("toprule", "midrule", "bottomrule"):
        assert text.count(f"\\{command}") == 1
    body = text[text.index(r"\toprule") : text.index(r"\bottomrule")]
    rows = [line for line in body.splitlines() if line.endswith(r" \\")]
    assert [row.count(" & ") for row in rows] == [4, 4, 4]
    assert r"\begin{tabular}{llrrr}" in text
    assert r"worst group (\%) $\uparrow$ & NC1, train" in rows[0]
    assert re.fullmatch(r"group\\_dro & train & 3 & \$\\mathbf\{[\d.]+\} \\pm [\d.]+\$ & -- \\\\", rows[2])
    assert text.count("{") == text.count("}")


@given(st.text(max_size=30))
def test_any_text_is_literal_in_latex(text: str) -> None:
    shown = latex(text)
    assert "\n" not in shown
    bare = re.sub(
        r"\\[&%$#_{}]|\\text(backslash|asciitilde|asciicircum|less|greater|bar)\{\}|\{\[\}|\{\*\}"
        r"|\$\\(pm|uparrow|downarrow)\$",
        "",
        shown,
    )
    assert not set(bare) & set('&%$#_{}~^\\<>|"*[')


@pytest.mark.parametrize(("form", "metric", "said"), [("tex", "accuracy", "'latex'"), ("csv", "acuracy", "'accuracy'")])
def test_unknown_formats_and_metrics_are_refused(results: Results, form: Any, metric: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=f"Did you mean {said}"):
        results.export(form, [metric])


def test_the_command_prints_what_python_returns(results: Results, cli: Cli, tmp_path: Path) -> None:
    for form in ("markdown", "latex", "csv", "json"):
        code, out, _ = cli("compare", tmp_path / "runs", "--format", form, "--metric", "accuracy")
        assert (code, out) == (0, results.export(form, ["accuracy"]))
    _, out, _ = cli("compare", tmp_path / "runs", "--metric", "balanced_error")
    assert "balanced_error (%), test" in out
    assert "worst_group_accuracy" not in out
    assert cli("compare", tmp_path / "runs", "--format", "csv", "--metric", "acuracy")[:2] == (2, "")
