"""`ncbench collapse`: features saved by anyone's model are read, measured and drawn; bad files end with one line."""

from __future__ import annotations

import json
import math
import pickle
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

import ncbench
from ncbench.collapse import etf_floor, measure
from ncbench.features.snapshot import SNAPSHOT_FILE
from ncbench.geometry import seli, vectors_with_gram

Cli = Callable[..., tuple[int, str, str]]
Arrays = dict[str, np.ndarray[Any, Any]]


@pytest.fixture
def cli(cli: Cli) -> Cli:
    """Run ``ncbench collapse``."""
    return lambda *arguments: cli("collapse", *arguments)


@pytest.fixture
def arrays() -> Arrays:
    random = np.random.default_rng(0)
    labels = np.repeat(np.arange(4), 8)
    return {
        "features": (5 * np.eye(6)[labels] + random.normal(size=(32, 6))).astype(np.float32),
        "labels": labels,
        "weight": random.normal(size=(4, 6)).astype(np.float32),
        "bias": random.normal(size=4).astype(np.float32),
    }


def save(path: Path, arrays: Arrays) -> Path:
    if path.suffix == ".npz":
        np.savez(path, **arrays)
    elif path.suffix == ".safetensors":
        pytest.importorskip("safetensors.numpy").save_file(arrays, path)
    else:
        columns = {name: list(values) if values.ndim == 2 else values for name, values in arrays.items()}
        pq.write_table(pa.table(columns), path, row_group_size=5)
    return path


def measured(arrays: Arrays) -> dict[str, float]:
    return measure(*(torch.from_numpy(arrays[name]) for name in ("features", "labels", "weight", "bias")))


def refused(result: tuple[int, str, str], code: int, *expected: str) -> None:
    """One line on standard error, nothing on standard output."""
    assert result[0] == code, result
    assert result[1] == ""
    assert result[2].startswith("Error: ")
    assert result[2].count("\n") == 1
    for text in expected:
        assert text in result[2]


# ---------------------------------------------------------------- what is measured


@pytest.mark.parametrize("kind", ["npz", "safetensors"])
def test_measures_are_those_of_the_library(cli: Cli, tmp_path: Path, arrays: Arrays, kind: str) -> None:
    code, out, err = cli(save(tmp_path / f"net.{kind}", arrays), "--json")
    assert (code, err) == (0, "")
    report = json.loads(out)
    assert report["measures"] == pytest.approx(measured(arrays))
    assert (report["images"], report["dimension"], report["num_classes"]) == (32, 6, 4)
    assert report["classes"] == [0, 1, 2, 3]
    assert report["class_counts"] == [8, 8, 8, 8]


def test_parquet_has_features_and_labels(cli: Cli, tmp_path: Path, arrays: Arrays) -> None:
    path = save(tmp_path / "net.parquet", {name: arrays[name] for name in ("features", "labels")})
    report = json.loads(cli(path, "--json")[1])
    expected = measure(torch.from_numpy(arrays["features"]), torch.from_numpy(arrays["labels"]))
    assert report["measures"] == pytest.approx(expected)


def test_parquet_of_fixed_size_lists_and_other_columns(cli: Cli, tmp_path: Path, arrays: Arrays) -> None:
    flat = pa.array(arrays["features"].ravel())
    columns = {"h": pa.FixedSizeListArray.from_arrays(flat, 6), "weight": arrays["labels"], "id": arrays["labels"]}
    pq.write_table(pa.table(columns), tmp_path / "net.parquet")
    report = json.loads(cli(tmp_path / "net.parquet", "--features", "h", "--labels", "weight", "--json")[1])
    assert report["measures"]["nc1"] == pytest.approx(measured(arrays)["nc1"])


def test_arrays_may_have_other_names(cli: Cli, tmp_path: Path, arrays: Arrays) -> None:
    renamed = {"h": arrays["features"], "y": arrays["labels"], "fc.weight": arrays["weight"], "fc.bias": arrays["bias"]}
    names = ("--features", "h", "--labels", "y", "--weight", "fc.weight", "--bias", "fc.bias")
    code, out, _ = cli(save(tmp_path / "net.npz", renamed), *names, "--json")
    assert code == 0
    assert json.loads(out)["measures"] == pytest.approx(measured(arrays))


def test_bfloat16_features_are_read(cli: Cli, tmp_path: Path, arrays: Arrays) -> None:
    tensors = {name: torch.from_numpy(values) for name, values in arrays.items()}
    tensors["features"] = tensors["features"].bfloat16()
    pytest.importorskip("safetensors.torch").save_file(tensors, tmp_path / "net.safetensors")
    report = json.loads(cli(tmp_path / "net.safetensors", "--json")[1])
    assert report["measures"]["nc1"] == pytest.approx(measured(arrays)["nc1"], rel=0.01)


def test_big_endian_and_long_double_arrays_are_read(cli: Cli, tmp_path: Path, arrays: Arrays) -> None:
    other = dict(arrays, features=arrays["features"].astype(np.longdouble), labels=arrays["labels"].astype(">i2"))
    report = json.loads(cli(save(tmp_path / "net.npz", other), "--json")[1])
    assert report["measures"] == pytest.approx(measured(arrays))


@pytest.mark.parametrize("dtype", ["int8", "int16", "int32", "uint8", "uint16", "uint32", "uint64"])
@pytest.mark.parametrize("kind", ["npz", "safetensors", "parquet"])
def test_labels_of_any_integer_type_are_read(cli: Cli, tmp_path: Path, arrays: Arrays, kind: str, dtype: str) -> None:
    given = {"features": arrays["features"], "labels": arrays["labels"].astype(dtype)}
    report = json.loads(cli(save(tmp_path / f"net.{kind}", given), "--json")[1])
    expected = measure(torch.from_numpy(arrays["features"]), torch.from_numpy(arrays["labels"]))
    assert report["measures"] == pytest.approx(expected)


@pytest.mark.parametrize("dtype", ["float16", ">f4", "float64", "longdouble"])
def test_features_of_any_float_type_and_order_are_read(cli: Cli, tmp_path: Path, arrays: Arrays, dtype: str) -> None:
    given = dict(arrays, features=np.asfortranarray(arrays["features"].astype(dtype)))
    report = json.loads(cli(save(tmp_path / "net.npz", given), "--json")[1])
    assert report["measures"]["nc1"] == pytest.approx(measured(arrays)["nc1"], rel=1e-2)


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2])
def test_features_of_one_byte_are_measured_as_what_they_are(
    cli: Cli, tmp_path: Path, arrays: Arrays, dtype: torch.dtype
) -> None:
    small = torch.from_numpy(arrays["features"]).to(dtype)
    tensors = {"features": small, "labels": torch.from_numpy(arrays["labels"])}
    pytest.importorskip("safetensors.torch").save_file(tensors, tmp_path / "net.safetensors")
    report = json.loads(cli(tmp_path / "net.safetensors", "--json")[1])
    assert report["measures"] == pytest.approx(measure(small.float(), tensors["labels"]))


@pytest.mark.parametrize(("dtype", "size"), [("f8", 2.0**665), ("f8", 2.0**-665), ("f4", 2.0**100), ("f4", 2.0**-100)])
def test_numbers_whose_squares_overflow_or_vanish_are_measured_and_drawn(
    cli: Cli, tmp_path: Path, arrays: Arrays, dtype: str, size: float
) -> None:
    plain = {name: arrays[name].astype(dtype) for name in ("features", "weight")} | {"labels": arrays["labels"]}
    scaled = dict(plain, features=(plain["features"] * size).astype(dtype))
    reports = []
    for number, given in enumerate((plain, scaled)):
        code, out, err = cli(save(tmp_path / "net.npz", given), "--json", "--plot", tmp_path / str(number))
        assert (code, err) == (0, "")
        reports.append(json.loads(out)["measures"])
    assert reports[0] == reports[1]
    assert (tmp_path / "0/grams.png").read_bytes() == (tmp_path / "1/grams.png").read_bytes()


def test_bias_without_a_weight_is_something_else(cli: Cli, tmp_path: Path, arrays: Arrays) -> None:
    del arrays["weight"]
    arrays["bias"] = arrays["labels"] % 2  # a bias attribute, one an image
    code, out, _ = cli(save(tmp_path / "net.npz", arrays))
    assert code == 0
    assert "nc3_self_duality" not in out
    assert "no classifier" in out


def test_a_collapsed_net_shows_the_ideal_values(cli: Cli, tmp_path: Path) -> None:
    corners = (np.eye(3) - 1 / 3).astype(np.float32)
    labels = np.tile(np.arange(3), 5)
    path = save(tmp_path / "net.npz", {"features": corners[labels], "labels": labels, "weight": corners})
    code, out, _ = cli(path)
    assert code == 0
    rows = re.findall(r"^  (nc\w+|seli\w+) +(\S+)  (\S+) +\S", out, re.MULTILINE)
    assert {name for name, *_ in rows} == set(measure(torch.eye(3), torch.arange(3), torch.eye(3))) - {"nc2_etf_floor"}
    for name, value, ideal in rows:
        assert float(value) == pytest.approx(0, abs=1e-5), name
        assert ideal == "0"
    assert "N = 15 images, d = 3 dimensions, K = 3 classes with images (0-2), 5 images a class" in out


def test_absent_classes_and_the_floor_are_told(cli: Cli, tmp_path: Path) -> None:
    labels = np.repeat([0, 1, 2, 5, 7], 3)
    features = np.random.default_rng(0).normal(size=(15, 2))
    path = save(tmp_path / "net.npz", {"features": features, "labels": labels, "weight": np.ones((9, 2))})
    _, out, _ = cli(path)
    assert "K = 5 classes with images (0-2, 5, 7)" in out
    assert "4 of 9 classes have no images" in out
    floor = f"{etf_floor(5, 2):.4g}"
    assert (
        "K > d + 1: 5 vectors in 2 dimensions cannot form a simplex ETF. The floor of nc2_etf_distance, its ideal "
        in out
    )
    assert re.search(rf"nc2_etf_distance +\S+  {re.escape(floor)} ", out)
    assert re.search(r"nc2_angle_mean +\S+  > 0 ", out)


def test_labels_may_be_ids(cli: Cli, tmp_path: Path, arrays: Arrays) -> None:
    ids = np.array([7, 10**15, 4, 10**12])[arrays["labels"]]
    path = save(tmp_path / "net.npz", {"features": arrays["features"], "labels": ids})
    report = json.loads(cli(path, "--json")[1])
    assert report["classes"] == [4, 7, 10**12, 10**15]
    assert report["measures"]["nc1"] == pytest.approx(measured(arrays)["nc1"])


def test_one_class_is_undefined_and_not_an_error(cli: Cli, tmp_path: Path) -> None:
    path = save(tmp_path / "net.npz", {"features": np.ones((3, 2)), "labels": np.zeros(3, int)})
    code, out, _ = cli(path)
    assert code == 0
    assert "undefined" in out
    assert json.loads(cli(path, "--json")[1])["measures"]["nc1"] is None
    refused(cli(path, "--plot", tmp_path / "plots"), 2, "fewer than two classes")


# ---------------------------------------------------------------- the picture


def test_plot_shows_seli_only_for_unequal_counts(cli: Cli, tmp_path: Path, arrays: Arrays) -> None:
    for ending in ("png", "svg"):
        code, out, _ = cli(save(tmp_path / "equal.npz", arrays), "--plot", tmp_path / "equal", "--format", ending)
        assert code == 0
        assert str(tmp_path / "equal" / f"grams.{ending}") in out
    assert (tmp_path / "equal/grams.png").read_bytes().startswith(b"\x89PNG")
    first = {name: values[:-5] if name in ("features", "labels") else values for name, values in arrays.items()}
    cli(save(tmp_path / "unequal.npz", first), "--plot", tmp_path / "unequal", "--format", "svg")
    equal, unequal = ((tmp_path / name / "grams.svg").read_text() for name in ("equal", "unequal"))
    assert "SELI" not in equal
    assert unequal.count(">class means: SELI") == unequal.count(">classifier: SELI") == 1
    assert sorted(path.name for path in (tmp_path / "equal").iterdir()) == ["grams.png", "grams.svg"]


def test_panels_hold_the_cosines_of_the_ideals(tmp_path: Path) -> None:
    from ncbench.features.collapse import measure_saved
    from ncbench.features.saved import read_features
    from ncbench.pictures.grams import panels

    counts = [10, 10, 1, 1]
    ideal = seli(counts)
    vectors = vectors_with_gram(ideal.mean_gram, 5, torch.Generator().manual_seed(0), dtype=torch.float64)
    labels = np.repeat(np.arange(4), counts)
    weight = vectors_with_gram(ideal.classifier_gram, 5, torch.Generator().manual_seed(1)).numpy()
    path = save(tmp_path / "net.npz", {"features": vectors.numpy()[labels], "labels": labels, "weight": weight})
    report = measure_saved(read_features(path), path)
    rows = panels(report.vectors, report.measures)
    for row, gram in zip(rows, (ideal.mean_gram, ideal.classifier_gram), strict=True):
        lengths = gram.diagonal().sqrt()
        (_, measured), (_, etf), (_, of_seli) = row
        assert torch.allclose(of_seli, gram / torch.outer(lengths, lengths), atol=1e-10)
        assert torch.allclose(measured, of_seli, atol=1e-5)
        assert torch.allclose(etf, (4 * torch.eye(4, dtype=torch.float64) - 1) / 3, atol=1e-10)


def test_many_classes_are_thinned_out(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ncbench.features.class_vectors.MOST_CLASSES", 10)
    labels = np.arange(50).repeat(2)
    features = np.random.default_rng(0).normal(size=(100, 4))
    saved = save(tmp_path / "net.npz", {"features": features, "labels": labels})
    code, *_ = cli(saved, "--plot", tmp_path, "--format", "svg")
    assert code == 0
    assert "50 classes (10 drawn)" in (tmp_path / "grams.svg").read_text()


def test_a_folder_that_cannot_be_written(cli: Cli, tmp_path: Path, arrays: Arrays) -> None:
    path = save(tmp_path / "net.npz", arrays)
    refused(cli(path, "--plot", path), 2, "cannot be written", "--plot")


# ---------------------------------------------------------------- what is refused


def test_what_a_run_keeps_for_pictures_is_no_file_of_features(cli: Cli, tmp_path: Path) -> None:
    result = ncbench.run("erm", set={"recipe.epochs": 1}, output=tmp_path)
    path = result.folder / SNAPSHOT_FILE
    refused(cli(path, "--json"), 2, str(path), str(result.path), f"ncbench plot --kind geometry {result.folder}")
    refused(cli(path, "--features", "means", "--labels", "classes"), 2, "mislead")


def test_missing_files_and_unknown_kinds(cli: Cli, tmp_path: Path) -> None:
    refused(cli(tmp_path / "none.npz"), 3, "none.npz does not exist")
    refused(cli(tmp_path / "no\nne\x1b.npz"), 3, r"no\nne\x1b.npz does not exist")
    (tmp_path / "net.pt").touch()
    refused(cli(tmp_path / "net.pt"), 2, ".npz, .safetensors, .parquet")


@pytest.mark.parametrize("kind", ["npz", "safetensors", "parquet"])
def test_damaged_files(cli: Cli, tmp_path: Path, arrays: Arrays, kind: str) -> None:
    if kind == "parquet":
        arrays = {name: arrays[name] for name in ("features", "labels")}
    whole = save(tmp_path / f"whole.{kind}", arrays).read_bytes()
    path = tmp_path / f"net.{kind}"
    for damaged in (b"", b"nonsense", whole[: len(whole) // 2], pickle.dumps([1])):
        path.write_bytes(damaged)
        refused(cli(path), 3, str(path))


def test_a_flipped_byte_in_an_array(cli: Cli, tmp_path: Path, arrays: Arrays) -> None:
    path = save(tmp_path / "net.npz", arrays)
    content = bytearray(path.read_bytes())
    content[content.find(arrays["features"].tobytes()) + 50] ^= 0xFF
    path.write_bytes(content)
    refused(cli(path), 3, "'features'", "damaged")


@pytest.mark.parametrize("kind", ["npz", "safetensors", "parquet"])
@pytest.mark.parametrize("missing", ["features", "labels"])
def test_missing_arrays(cli: Cli, tmp_path: Path, arrays: Arrays, kind: str, missing: str) -> None:
    kept = {name: arrays[name] for name in ("features", "labels") if name != missing}
    path = save(tmp_path / f"net.{kind}", kept)
    refused(cli(path), 3, f"no array '{missing}'", repr(*kept), f"--{missing}")


def test_a_classifier_that_was_asked_for_must_be_there(cli: Cli, tmp_path: Path, arrays: Arrays) -> None:
    both = {name: arrays[name] for name in ("features", "labels")}
    path = save(tmp_path / "net.npz", both)
    refused(cli(path, "--weight", "fc"), 3, "no array 'fc'")
    refused(cli(path, "--bias", "b"), 2, "--weight")
    table = save(tmp_path / "net.parquet", both)
    refused(cli(table, "--weight", "fc"), 2, "no place for a classifier")
    refused(cli(table, "--bias", "fc"), 2, "no place for a classifier")


def test_objects_are_never_unpickled(cli: Cli, tmp_path: Path, arrays: Arrays) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "sprung",))

    objects = np.empty(32, dtype=object)
    objects[:] = [Trap() for _ in range(32)]
    path = tmp_path / "net.npz"
    np.savez(path, features=arrays["features"], labels=objects)
    refused(cli(path), 3, "'labels' holds Python objects")
    path.write_bytes(pickle.dumps(Trap()))
    refused(cli(path), 3, str(path))
    assert not (tmp_path / "sprung").exists()


def change(name: str, entry: tuple[int, ...], value: float) -> Callable[[Arrays], None]:
    def apply(arrays: Arrays) -> None:
        arrays[name][entry] = value

    return apply


def replace(name: str, values: Callable[[Arrays], np.ndarray[Any, Any]]) -> Callable[[Arrays], None]:
    def apply(arrays: Arrays) -> None:
        arrays[name] = values(arrays)

    return apply


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (change("features", (3, 2), math.nan), "features[3, 2] is nan, not finite"),
        (change("features", (0, 0), math.inf), "features[0, 0] is inf, not finite"),
        (change("weight", (1, 2), math.nan), "weight[1, 2] is nan, not finite"),
        (change("bias", (3,), math.inf), "bias[3] is inf, not finite"),
        (change("labels", (5,), 4), "labels[5] is 4, outside 0..3"),
        (change("labels", (5,), -1), "labels[5] is -1, below 0"),
        (replace("labels", lambda a: a["labels"][:-1]), "labels must have shape (32,)"),
        (replace("labels", lambda a: a["labels"].astype(float)), "labels must be integers, got torch.float64"),
        (replace("labels", lambda a: a["labels"] > 1), "labels must be integers, got torch.bool; save them as int64"),
        (replace("labels", lambda a: a["labels"][:, None]), "labels must have shape (32,), one a row of features"),
        (replace("labels", lambda a: a["labels"].astype("u8") + 2**63), f"labels[0] is {2**63}, above 2**63 - 1"),
        (
            replace("features", lambda a: a["features"] * np.longdouble("1e4000")),
            "'features' has numbers beyond float64",
        ),
        (replace("features", lambda a: np.full((32, 6), 1e308)), "features are too large to be summed"),
        (replace("features", lambda a: np.array(1.0)), "features must have shape (images, dimension), got ()"),
        (replace("labels", lambda a: a["labels"].astype(str)), "'labels' has dtype <U21, not plain numbers"),
        (replace("features", lambda a: a["features"][:, 0]), "features must have shape (images, dimension)"),
        (replace("features", lambda a: a["features"].astype(int)), "features must be floating point"),
        (replace("features", lambda a: a["features"].astype(complex)), "'features' has dtype complex128"),
        (
            replace("weight", lambda a: a["weight"].T),
            "weight must have shape (classes, 6), one row a class, got (6, 4); save its transpose",
        ),
        (replace("weight", lambda a: a["weight"][:, :3]), "weight must have shape (classes, 6)"),
        (replace("bias", lambda a: a["bias"][:2]), "bias must have shape (4,), got (2,)"),
        (replace("bias", lambda a: a["labels"]), "bias must be floating point"),
    ],
)
def test_arrays_that_do_not_fit_are_named(
    cli: Cli, tmp_path: Path, arrays: Arrays, spoil: Callable[[Arrays], None], expected: str
) -> None:
    spoil(arrays)
    refused(cli(save(tmp_path / "net.npz", arrays)), 3, "net.npz", expected)


def test_no_images(cli: Cli, tmp_path: Path) -> None:
    empty = {"features": np.empty((0, 3), np.float32), "labels": np.empty(0, np.int64)}
    refused(cli(save(tmp_path / "net.npz", empty)), 3, "at least one image")
    table = pa.table({"features": pa.array([], pa.list_(pa.float32())), "labels": pa.array([], pa.int64())})
    pq.write_table(table, tmp_path / "net.parquet")
    refused(cli(tmp_path / "net.parquet"), 3, "holds no features")


@pytest.mark.parametrize(
    ("features", "labels", "expected"),
    [
        ([[1.0, 2.0], [3.0]], [0, 1], "'features' has 1 numbers in row 1, but 2 in row 0"),
        ([[1.0, 2.0], None], [0, 1], "'features' has no value in row 1"),
        ([[1.0, 2.0], [3.0, None]], [0, 1], "'features' has a missing number in row 1"),
        ([[1.0, 2.0], [3.0, 4.0]], [0, None], "'labels' has no value in row 1"),
        ([1.0, 2.0], [0, 1], "'features' is double, not a list of numbers"),
        ([["a"], ["b"]], [0, 1], "'features' has dtype object, not plain numbers"),
        ([[1.0], [2.0]], ["cat", "dog"], "'labels' has dtype object, not plain numbers"),
    ],
)
def test_tables_with_holes(cli: Cli, tmp_path: Path, features: list[Any], labels: list[Any], expected: str) -> None:
    pq.write_table(pa.table({"features": features, "labels": labels}), tmp_path / "net.parquet")
    refused(cli(tmp_path / "net.parquet"), 3, expected)


def test_safetensors_is_named_when_it_is_missing(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "net.safetensors").write_bytes(b"anything")
    monkeypatch.setitem(sys.modules, "safetensors", None)
    refused(cli(tmp_path / "net.safetensors"), 2, "pip install safetensors")


def test_help_imports_nothing_heavy() -> None:
    command = [sys.executable, "-X", "importtime", "-m", "ncbench", "collapse", "--help"]
    traced = subprocess.run(command, capture_output=True, text=True, check=True)
    imported = {line.rpartition("|")[2].strip() for line in traced.stderr.splitlines()}
    assert not imported & {"torch", "numpy", "matplotlib", "pyarrow", "safetensors"}


@pytest.mark.parametrize("backbone", ["mlp", "identity"])
def test_a_runs_model_gives_what_its_record_says(cli: Cli, tmp_path: Path, backbone: str) -> None:
    result = ncbench.run("erm", backbone=backbone, set={"recipe.epochs": 3}, output=tmp_path, device="cpu")
    code, out, err = cli(result.folder, "--json")
    assert (code, err) == (0, "")
    report = json.loads(out)
    recorded = result.metrics["train"]
    shared = recorded.keys() & report["measures"].keys()
    assert shared >= {"nc1", "nc2_angle_std", "nc3_self_duality", "nc4_disagreement"}
    for name in shared:
        assert report["measures"][name] == pytest.approx(recorded[name], rel=1e-4, abs=1e-6), name
    code, out, _ = cli(result.path, "--split", "test", "--json", "--plot", tmp_path / "pictures")
    assert (tmp_path / "pictures" / "grams.png").read_bytes().startswith(b"\x89PNG")
    images = sum(group.count for group in result.record.groups["test"])
    assert (code, json.loads(out)["images"]) == (0, images)


def test_what_a_run_cannot_be_asked_is_one_line(cli: Cli, tmp_path: Path, arrays: Arrays) -> None:
    result = ncbench.run("erm", set={"recipe.epochs": 1}, output=tmp_path, device="cpu")
    file = save(tmp_path / "features.npz", arrays)
    for arguments, expected, said in (
        ((result.folder, "--split", "dev"), 2, "Unknown split of colored_digits 'dev'"),
        ((result.folder, "--features", "x"), 2, "--features is for a file of features"),
        ((file, "--split", "test"), 2, "--split is for the folder of a run"),
        ((tmp_path / "nowhere" / "result.json",), 3, "There is no record"),
    ):
        code, _, err = cli(*arguments)
        assert (code, len(err.splitlines())) == (expected, 1)
        assert said in err
    (result.folder / "model.pt").unlink()
    code, _, err = cli(result.folder)
    assert code == 3
    assert "the same command makes that run again" in err
