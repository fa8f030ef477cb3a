from __future__ import annotations

import json
from importlib import resources
from pathlib import Path

import numpy as np
import pytest

import ncbench
from ncbench import DataError, load_result
from ncbench.contracts.groups import accuracies
from ncbench.records.record import Record


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> ncbench.records.archive.RunResult:
    return ncbench.run("erm", set={"recipe.epochs": 2}, output=tmp_path_factory.mktemp("runs"))


def test_the_committed_schema_is_the_models() -> None:
    committed = json.loads(resources.files("ncbench.records").joinpath("record.schema.json").read_text())
    assert committed == Record.model_json_schema()


def test_a_record_is_read_from_its_file_or_its_folder(result: ncbench.records.archive.RunResult) -> None:
    assert load_result(result.path) == load_result(str(result.folder)) == result


@pytest.mark.parametrize(
    ("edit", "complaint"),
    [
        (lambda text: text.replace('"seed": 0', '"seed": "zero"'), "seed: Input should be a valid integer"),
        (lambda text: text.replace('"status": "completed"', '"status": "excellent"'), "status: Input should be"),
        (lambda text: text.replace('"schema_version": 1', '"schema_version": 99'), "schema_version: Input should be 1"),
        (lambda text: text.replace('"seed": 0', '"seed": 0, "seed": 1'), "the key 'seed' appears twice"),
        (lambda text: text.replace('"seed": 0', '"seed": NaN'), "NaN is not a number"),
        (lambda text: text.replace('"correct": 0', '"correct": 100000', 1), "100000 correct of"),
        (lambda text: text.replace('"correct": 0', '"correct": -1', 1), "greater than or equal to 0"),
        (lambda text: text[: len(text) // 2], "is not a valid record"),
        (lambda text: "[" * 100_000, "is not a valid record"),
        (lambda text: "", "is not a valid record"),
    ],
)
def test_a_record_that_is_not_one_names_the_field(
    result: ncbench.records.archive.RunResult, tmp_path: Path, edit, complaint: str
) -> None:
    text = result.path.read_text()
    changed = tmp_path / "result.json"
    changed.write_text(edit(text))
    assert changed.read_text() != text
    with pytest.raises(DataError, match="(?s)" + complaint.replace("(", r"\(")) as caught:
        load_result(changed)
    assert str(changed) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_accuracies_follow_from_the_counts_and_the_alignment_in_the_record(
    result: ncbench.records.archive.RunResult,
) -> None:
    record = result.record
    assert record.dataset.aligned_bias == list(range(10))
    tables = {
        split: [np.array([getattr(group, name) for group in groups]).reshape(10, 10) for name in ("count", "correct")]
        for split, groups in record.groups.items()
    }
    for split, (count, correct) in tables.items():
        found = accuracies(
            count,
            correct,
            bias_known=True,
            aligned_bias=record.dataset.aligned_bias,
            train_count=tables["train"][0],
        )
        assert found == {name: record.metrics[split][name] for name in found}
        assert {"worst_class_accuracy", "conflicting_accuracy", "adjusted_accuracy"} <= found.keys()


def test_a_record_of_before_says_nothing_of_the_alignment(
    result: ncbench.records.archive.RunResult, tmp_path: Path
) -> None:
    content = json.loads(result.path.read_text())
    del content["dataset"]["aligned_bias"]
    for numbers in content["metrics"].values():
        del numbers["worst_class_accuracy"]
    (tmp_path / "result.json").write_text(json.dumps(content))
    assert load_result(tmp_path).record.dataset.aligned_bias is None


def test_a_missing_record_says_where_it_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"There is no record at .*result\.json"):
        load_result(tmp_path)


def test_a_file_too_large_for_a_record_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    with path.open("wb") as file:
        file.truncate(2**30)  # sparse: it takes no space
    with pytest.raises(DataError, match="more than the"):
        load_result(path)
