"""Tables of predictions: a run's own and anyone's are read, and evaluated; bad ones end with one line."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import bootstrap

import ncbench
from ncbench.cli.tables.predictions import to_json
from ncbench.contracts.errors import ConfigurationError, DataError
from ncbench.data.store.prepare import prepare
from ncbench.discovery.registry import registry
from ncbench.features.predictions import Columns, Predictions, read_predictions, write_predictions
from ncbench.records.archive import RunResult
from ncbench.training.evaluation.predictions import PredictionReport, worst_group_interval

Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    folder = tmp_path_factory.mktemp("runs")
    return ncbench.run("erm", "colored_digits:val=0.2", set={"recipe.epochs": 2}, output=folder, warn=lambda line: None)


def table(path: Path, **columns: Any) -> Path:
    """Write a table of three images of two classes, with columns of one's own."""
    given: dict[str, Any] = {"target": [0, 1, 1], "prediction": [0, 1, 0], **columns}
    content = pa.table({name: values for name, values in given.items() if values is not None})
    match path.suffix:
        case ".parquet":
            pq.write_table(content, path)
        case ".jsonl":
            path.write_text("".join(f"{json.dumps(row)}\n" for row in content.to_pylist()))
        case suffix:
            options = pyarrow.csv.WriteOptions(delimiter="\t" if suffix == ".tsv" else ",")
            pyarrow.csv.write_csv(content, path, options)
    return path


def cells(report: PredictionReport) -> list[dict[str, int]]:
    """Return the groups as a record has them."""
    return [
        {"target": target, "bias": bias, "count": report.count[target, bias], "correct": report.correct[target, bias]}
        for target, bias in np.ndindex(report.count.shape)
    ]


def test_a_run_keeps_what_it_predicts(finished: RunResult) -> None:
    kept = pq.read_table(finished.folder / "predictions.parquet")
    assert kept.column_names == ["split", "id", "target", "bias", "prediction", *(f"p_{index}" for index in range(10))]
    for split in ("val", "test"):
        report = ncbench.evaluate(finished.folder, split=split)
        assert cells(report) == [group.model_dump() for group in finished.record.groups[split]]
        recorded = finished.metrics[split]
        assert {"accuracy", "worst_group_accuracy", "ece", "brier"} <= report.metrics.keys()
        assert report.metrics == pytest.approx({name: recorded[name] for name in report.metrics}, abs=1e-6)


def test_a_loaded_model_predicts_what_the_run_did(finished: RunResult) -> None:
    model = ncbench.load_model(finished.folder)
    card = registry().find("datasets", "colored_digits").card
    images = np.asarray(prepare(card, {"val": 0.2}).splits["test"].inputs)
    kept = read_predictions(finished.folder)
    np.testing.assert_array_equal(model.predict(images), kept.predicted)
    np.testing.assert_allclose(model.probabilities(images[:7]), kept.probability[:7], atol=1e-6)
    with pytest.raises(ConfigurationError, match=r"takes arrays \(N, 8, 8, 3\) of uint8, not \(2, 3\) of float64"):
        model.predict(np.zeros((2, 3)))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("class_names", 5),
        ("class_names", [["zero"]]),
        ("bias_names", None),
        ("aligned_bias", "zz"),
        ("aligned_bias", [0]),
        ("aligned_bias", [99] * 10),
    ],
)
def test_a_run_file_with_other_names_is_damaged(finished: RunResult, tmp_path: Path, name: str, value: Any) -> None:
    kept = pq.read_table(finished.folder / "predictions.parquet")
    names = {**json.loads(kept.schema.metadata[b"ncbench"]), name: value}
    pq.write_table(kept.replace_schema_metadata({"ncbench": json.dumps(names)}), tmp_path / "changed.parquet")
    with pytest.raises(DataError, match=f"says that a run wrote it, and is damaged: .*{name}"):
        ncbench.evaluate(tmp_path / "changed.parquet")


@pytest.mark.parametrize("content", [[1, 2], 7, {"classifier.weight": torch.zeros(1)}])
def test_a_damaged_model_is_refused(finished: RunResult, tmp_path: Path, content: Any) -> None:
    (tmp_path / "result.json").write_bytes(finished.path.read_bytes())
    torch.save(content, tmp_path / "model.pt")
    with pytest.raises(DataError, match="cannot be read"):
        ncbench.load_model(tmp_path)


def test_a_model_of_other_data_is_refused(finished: RunResult, tmp_path: Path) -> None:
    record = json.loads(finished.path.read_text())
    record["dataset"]["fingerprint"] = "0" * 64
    (tmp_path / "result.json").write_text(json.dumps(record))
    with pytest.raises(DataError, match="others here"):
        ncbench.load_model(tmp_path)


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet", ".jsonl"])
def test_tables_of_every_kind_say_the_same(tmp_path: Path, suffix: str) -> None:
    path = table(
        tmp_path / f"predictions{suffix}", place=["land", "water", "land"], p_0=[0.9, 0.2, 0.6], p_1=[0.1, 0.8, 0.4]
    )
    report = ncbench.evaluate(path, columns=Columns(bias="place"), aligned_bias=[0, 1])
    assert report.bias_names == ["land", "water"]
    assert report.count.tolist() == [[1, 0], [1, 1]]
    assert report.correct.tolist() == [[1, 0], [0, 1]]
    assert report.metrics["accuracy"] == pytest.approx(2 / 3)
    assert report.metrics["aligned_accuracy"] == 1
    assert report.metrics["conflicting_accuracy"] == 0
    assert report.metrics["brier"] == pytest.approx((2 * 0.1**2 + 2 * 0.2**2 + 2 * 0.6**2) / 3)


def test_classes_may_be_names(tmp_path: Path) -> None:
    path = table(tmp_path / "named.csv", target=["cat", "dog", "dog"], prediction=["cat", "dog", "cat"])
    report = ncbench.evaluate(path)
    assert report.class_names == ["cat", "dog"]
    assert report.count.tolist() == [[1], [2]]
    assert report.metrics["worst_class_accuracy"] == 0.5
    assert report.worst_group_interval is None
    assert "ece" not in report.metrics


def test_a_class_that_never_occurs_has_its_probability(tmp_path: Path) -> None:
    report = ncbench.evaluate(table(tmp_path / "t.csv", p_0=[0.5] * 3, p_1=[0.3] * 3, p_2=[0.2] * 3, p_max=[0.5] * 3))
    assert report.class_names == ["0", "1", "2"]


def test_a_byte_order_mark_is_no_part_of_a_name(tmp_path: Path) -> None:
    path = table(tmp_path / "t.csv")
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert ncbench.evaluate(path).metrics["accuracy"] == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("columns", "error", "message"),
    [
        ({"target": None}, DataError, "has no column 'target'; it has 'prediction'. Name the column with --target"),
        ({"target": [None, 0, None]}, DataError, "column 'target' has no value in 2 rows: 0; 2"),
        ({"target": [0.5, 1, 1]}, DataError, "neither whole numbers nor names"),
        ({"prediction": ["a", "b", "c"]}, DataError, "some labels are numbers and others names"),
        ({"p_0": [0.5, 0.5, 0.5], "p_1": [0.5, 0.5, 0.7]}, DataError, "row 2 add to 1.2"),
        ({"p_0": [0.5, -0.5, 0.5], "p_1": [0.5, 1.5, 0.5]}, DataError, "the smallest is -0.5"),
        ({"p_0": [0.5, 0.5, float("nan")], "p_1": [0.5] * 3}, DataError, "row 2 add to nan"),
        ({"p_0": [0.5] * 3}, DataError, "none of 1"),
        ({"p_0": ["a"] * 3, "p_1": ["b"] * 3}, DataError, "are no numbers"),
        ({"split": ["a", "b", "b"]}, ConfigurationError, "has the splits a, b. Choose one with --split"),
        ({"target": [], "prediction": []}, DataError, "has no rows"),
    ],
)
def test_what_cannot_be_evaluated_is_named(tmp_path: Path, columns: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        ncbench.evaluate(table(tmp_path / "t.parquet", **columns))


@pytest.mark.parametrize("content", [b"", b"\x00\x01\xff", b"target,prediction\n0\n", b"a,a,target\n1,2,3\n"])
def test_damaged_tables_end_with_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(content)
    with pytest.raises(DataError):
        ncbench.evaluate(path)


def test_an_unknown_kind_of_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "t.pkl").write_bytes(b"cos\nsystem\n")
    with pytest.raises(ConfigurationError, match=r"is none of \.csv, \.tsv, \.parquet, \.jsonl"):
        ncbench.evaluate(tmp_path / "t.pkl")
    with pytest.raises(DataError, match="does not exist"):
        ncbench.evaluate(tmp_path / "t.csv")


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    number, num_classes, num_bias = data.draw(st.tuples(st.integers(1, 20), st.integers(1, 5), st.integers(1, 3)))
    random = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    bias_known = data.draw(st.booleans())
    written = Predictions(
        random.integers(num_classes, size=number),
        random.integers(num_classes, size=number),
        [f"class {index}" for index in range(num_classes)],
        random.integers(num_bias, size=number) if bias_known else None,
        [f"value {index}" for index in range(num_bias)] if bias_known else (),
        torch.from_numpy(random.normal(size=(number, num_classes))).softmax(1).float().numpy(),
        [f"image {index}" for index in range(number)],
        [0] * num_classes if bias_known else None,
    )
    path = tmp_path_factory.mktemp("written") / "predictions.parquet"
    write_predictions({"val": written, "test": written}, path)
    for split in ("val", "test"):
        read = read_predictions(path, split=split)
        for name, value in vars(written).items():
            np.testing.assert_array_equal(getattr(read, name), value)


def test_a_split_without_the_attribute_has_no_bias_value_of_another_one(tmp_path: Path) -> None:
    target, bias = np.array([0, 1, 1]), np.array([0, 1, 0])
    known = Predictions(target, target, ["cat", "dog"], bias, ["land", "water"], aligned_bias=[0, 1])
    write_predictions({"val": known, "test": replace(known, bias=None)}, tmp_path / "predictions.parquet")
    for split, names, of_bias in (("val", ("land", "water"), {0, 1}), ("test", (), {None})):
        report = ncbench.evaluate(tmp_path, split=split)
        assert tuple(report.bias_names) == names
        assert {group["bias"] for group in to_json(report)["groups"]} == of_bias


def test_the_interval_is_that_of_the_stratified_bootstrap() -> None:
    count, correct = np.array([[40, 0], [25, 60]]), np.array([[30, 0], [15, 58]])
    groups = [np.repeat([1.0, 0.0], [right, number - right]) for number, right in ((40, 30), (25, 15), (60, 58))]

    def worst(*drawn: np.ndarray, axis: int) -> np.ndarray:
        return np.min([group.mean(axis=axis) for group in drawn], axis=0)

    expected = bootstrap(groups, worst, method="percentile", rng=1).confidence_interval
    assert worst_group_interval(count, correct) == pytest.approx(tuple(expected), abs=0.0201)  # half an image of 25


def test_the_command_shows_every_group(cli: Cli, tmp_path: Path) -> None:
    path = table(tmp_path / "t.csv", bias=[0, 1, 0])
    code, out, _ = cli("evaluate", path, "--json")
    assert code == 0
    report = json.loads(out)
    assert report["images"] == 3
    assert {"target": 1, "bias": 0, "count": 1, "correct": 0} in report["groups"]
    code, out, _ = cli("evaluate", path, "--aligned-bias", "0,1")
    assert code == 0
    assert "conflicting_accuracy" in out
    assert "Worst group: 95 %" in out
    code, _, err = cli("evaluate", path, "--aligned-bias", "0,2")
    assert (code, err.count("\n")) == (2, 1)
    code, _, err = cli("evaluate", path, "--aligned-bias", "a")
    assert (code, err.count("\n")) == (2, 1)


@pytest.mark.real_data
def test_the_accuracies_that_others_print() -> None:
    """Two public models of 534 images of a Waterbirds-like test set."""
    folder = Path(os.environ["NCBENCH_DATA"]) / "predictions"
    if not folder.is_dir():
        pytest.skip("there are no predictions of others beside the datasets")
    expected = json.loads((folder / "expected.json").read_text())
    for name, counts in expected.items():
        report = ncbench.evaluate(folder / name, columns=Columns("y_true", "y_pred", "attr_true"))
        assert cells(report) == counts["groups"]
        assert report.metrics["accuracy"] == pytest.approx(counts["accuracy"], abs=1e-6)
