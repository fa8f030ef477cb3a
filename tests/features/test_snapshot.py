"""What a run keeps of its features: the very ones its record was measured on, bounded in size, and read with care."""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import ncbench
from ncbench import DataError, Evaluation, FeatureStream
from ncbench.collapse import gram_distance
from ncbench.features.snapshot import (
    IMAGES_A_CLASS,
    SNAPSHOT_FILE,
    Snapshot,
    read_snapshot,
    take_snapshot,
    write_snapshot,
)
from ncbench.records.archive import RunResult

Arrays = dict[str, Any]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    dataset = "colored_digits:conflict=0.1,imbalance=step,ratio=4"
    return ncbench.run("erm", dataset, set={"recipe.epochs": 2}, output=tmp_path_factory.mktemp("runs"))


@pytest.fixture
def kept(run: RunResult) -> Snapshot:
    snapshot = read_snapshot(run.folder)
    assert snapshot is not None
    return snapshot


def evaluation(features: torch.Tensor, target: torch.Tensor, num_classes: int, **changes: Any) -> Evaluation:
    content: Arrays = {
        "split": "train",
        "num_classes": num_classes,
        "num_bias": 2,
        "target": target,
        "bias": None,
        "predicted": target,
        "count": np.zeros((num_classes, 1)),
        "correct": np.zeros((num_classes, 1)),
        "train_count": None,
        "aligned_bias": None,
        "feature_stream": FeatureStream.of(features, target, changes.get("bias"), num_classes, 2),
    }
    return Evaluation(**(content | changes))


def test_it_holds_what_the_record_was_measured_on(run: RunResult, kept: Snapshot) -> None:
    measures, vectors = run.metrics["train"], kept.vectors
    assert vectors.weight is not None
    etf = torch.eye(10) - 1 / 10
    for suffix, rows in (("", vectors.means), ("_classifier", vectors.weight)):
        assert gram_distance(rows @ rows.T, etf) == pytest.approx(measures[f"nc2_etf_distance{suffix}"], rel=1e-4)
    difference = vectors.weight / vectors.weight.norm() - vectors.means / vectors.means.norm()
    assert float(difference.square().sum()) == pytest.approx(measures["nc3_self_duality"], rel=1e-4)
    counts = {
        target: sum(group.count for group in run.record.groups["train"] if group.target == target)
        for target in range(10)
    }
    assert dict(zip(vectors.classes.tolist(), vectors.counts.tolist(), strict=True)) == counts


def test_the_sample_is_of_the_classes_it_names(run: RunResult, kept: Snapshot) -> None:
    assert kept.conflicting is not None
    assert sorted(set(kept.labels.tolist())) == [0, 3, 6, 9]  # frequent and rare ones
    for number in (0, 3, 6, 9):
        own = kept.labels == number
        groups = [group for group in run.record.groups["train"] if group.target == number]
        # no class here has more images than are kept: their mean is the class mean
        assert int(own.sum()) == sum(group.count for group in groups) <= IMAGES_A_CLASS
        assert int(kept.conflicting[own].sum()) == sum(group.count for group in groups if group.bias != number)
        assert torch.allclose(kept.features[own].mean(0), kept.vectors.means[number], atol=1e-5)


def test_it_is_bounded_and_evenly_spread() -> None:
    target = torch.arange(1000).repeat_interleave(3)
    taken = take_snapshot(evaluation(torch.randn(3000, 8), target, 1200))  # 200 classes have no images
    assert taken is not None
    assert len(taken.vectors.counts) == 1000
    assert len(taken.vectors.classes) == 300
    assert taken.vectors.classes[[0, -1]].tolist() == [0, 999]
    assert sorted(set(taken.labels.tolist())) == [0, 334, 665, 999]
    assert taken.conflicting is None

    target = torch.zeros(5000, dtype=torch.int64)
    features = torch.arange(5000.0)[:, None]
    bias = (torch.arange(5000) % 50 == 0).long()
    taken = take_snapshot(evaluation(features, target, 2, bias=bias, aligned_bias=[0, 1]))
    assert taken is not None
    assert taken.conflicting is not None
    assert (~taken.conflicting).sum() == IMAGES_A_CLASS // 2  # of 4900
    assert taken.conflicting.sum() == 100  # all
    assert taken.features[~taken.conflicting].diff(dim=0).max() < 50  # from the whole of the data set


def test_it_comes_back_as_it_was_and_is_the_same_file(kept: Snapshot, run: RunResult, tmp_path: Path) -> None:
    write_snapshot(kept, tmp_path)
    assert (tmp_path / SNAPSHOT_FILE).read_bytes() == (run.folder / SNAPSHOT_FILE).read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == [SNAPSHOT_FILE]


def test_a_classifier_that_is_not_linear_is_left_out(tmp_path: Path) -> None:
    taken = take_snapshot(evaluation(torch.randn(6, 3), torch.arange(6) % 3, 3))
    assert taken is not None
    write_snapshot(taken, tmp_path)
    back = read_snapshot(tmp_path)
    assert back is not None
    assert back.vectors.weight is None


@pytest.mark.parametrize("spoiled", ["features", "weight"])
def test_nothing_is_kept_of_numbers_that_are_not_finite(spoiled: str) -> None:
    tensors = {"features": torch.randn(6, 3), "weight": torch.randn(3, 3)}
    tensors[spoiled][1, 1] = math.nan
    assert take_snapshot(evaluation(tensors["features"], torch.arange(6) % 3, 3, weight=tensors["weight"])) is None


def test_a_run_that_is_forced_anew_takes_the_old_file_away(tmp_path: Path) -> None:
    options: Arrays = {"method": "erm", "output": tmp_path}
    folder = ncbench.run(set={"recipe.epochs": 1}, **options).folder
    assert (folder / SNAPSHOT_FILE).is_file()
    diverging = {"recipe.epochs": 1, "recipe.optimizer": "sgd", "recipe.lr": 1e30}
    folder = ncbench.run(set=diverging, **options).folder
    assert read_snapshot(folder) is None
    (folder / SNAPSHOT_FILE).write_bytes(b"of an earlier attempt")
    ncbench.run(set=diverging, force=True, **options)
    assert read_snapshot(folder) is None


def change(name: str, edit: Callable[[Any], Any]) -> Callable[[Arrays], None]:
    def apply(arrays: Arrays) -> None:
        arrays[name] = edit(arrays[name])

    return apply


def put(name: str, entry: Any, value: float) -> Callable[[Arrays], None]:
    def apply(arrays: Arrays) -> None:
        arrays[name][entry] = value

    return apply


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (lambda arrays: arrays.pop("means"), "no array 'means'"),
        (put("means", (0, 0), math.nan), "means has numbers that are not finite"),
        (put("features", (5, 1), math.inf), "features has numbers that are not finite"),
        (put("counts", 0, 0), "counts has 0, below 1"),
        (put("labels", 3, 10), "labels has 10, which is not among classes"),
        (put("drawn", -1, 10), "drawn has 10, outside 0..9"),
        (put("drawn", 0, 5), "drawn must ascend"),
        (put("classes", 0, -1), "classes must ascend"),
        (change("means", lambda array: array[:, :-1]), "weight must be torch.float32 of shape (10, 99)"),
        (change("means", lambda array: array.astype(np.float64)), "means must be torch.float32"),
        (change("weight", lambda array: array[0]), "weight must be"),
        (change("features", lambda array: array[..., 0]), "features must be torch.float32 of shape (294, 100)"),
        (change("features", lambda array: array[:0]), "features must be"),
        (change("labels", lambda array: array[:0]), "labels must be"),
        (change("counts", lambda array: array[0]), "counts must be"),
        (change("conflicting", lambda array: array.astype(np.int64)), "conflicting must be torch.bool"),
        (change("classes", lambda array: array.astype("U3")), "not plain numbers"),
    ],
)
def test_arrays_that_do_not_belong_together_are_refused(
    run: RunResult, tmp_path: Path, spoil: Callable[[Arrays], None], expected: str
) -> None:
    with np.load(run.folder / SNAPSHOT_FILE) as archive:
        arrays = {name: archive[name] for name in archive.files}
    spoil(arrays)
    np.savez(tmp_path / SNAPSHOT_FILE, **arrays)
    with pytest.raises(DataError) as refused:
        read_snapshot(tmp_path)
    assert expected in str(refused.value)
    assert str(tmp_path / SNAPSHOT_FILE) in str(refused.value)
    assert "\n" not in str(refused.value)


def test_damaged_files_and_objects_are_refused(run: RunResult, tmp_path: Path) -> None:
    whole = (run.folder / SNAPSHOT_FILE).read_bytes()
    path = tmp_path / SNAPSHOT_FILE
    for damaged in (b"", b"nonsense", whole[: len(whole) // 2], pickle.dumps([1])):
        path.write_bytes(damaged)
        with pytest.raises(DataError):
            read_snapshot(tmp_path)
    with np.load(run.folder / SNAPSHOT_FILE) as archive:
        arrays = {name: archive[name] for name in archive.files}
    np.savez(path, **{**arrays, "labels": np.array([object()] * len(arrays["labels"]))})
    with pytest.raises(DataError, match="never unpickles"):
        read_snapshot(tmp_path)
