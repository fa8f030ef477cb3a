"""Data of the user's own: read as they lie, split where they have no splits, and refused with every offender named."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from PIL import Image

import ncbench
from ncbench.contracts.dataset import DatasetParameters
from ncbench.contracts.errors import ConfigurationError, DataError
from ncbench.contracts.specs import Spec
from ncbench.data.store.open import Store
from ncbench.data.store.prepare import prepare
from ncbench.leaderboard.intake.catalogue import Catalogue
from ncbench.leaderboard.intake.entry import inspect

from .conftest import CARDS

Cli = Callable[..., tuple[int, str, str]]
Rows = list[dict[str, Any]]


def opened(text: str) -> Store:
    spec = Spec.parse(text)
    card = CARDS[spec.name]
    return prepare(card, DatasetParameters.build(card.load(), spec.parameters, owner=card.name))


def labels(store: Store) -> dict[str, list[list[Any]]]:
    """Return, by split, the id, the class and the value of the attribute of each image, by their names."""
    return {
        name: [
            [str(key), store.class_names[y], None if split.bias is None else store.bias_names[split.bias[row]]]
            for row, (key, y) in enumerate(zip(split.ids, split.target, strict=True))
        ]
        for name, split in store.splits.items()
    }


@pytest.fixture
def rows(tmp_path: Path) -> Rows:
    """Write forty images into a folder, and return what a table says of them."""
    found: Rows = []
    for index in range(40):
        animal, place = ("cat", "dog")[index % 2], ("land", "water")[(index + (index % 5 == 0)) % 2]
        name = f"photos/{index:02d}.png"
        (tmp_path / "photos").mkdir(exist_ok=True)
        Image.new("RGB", (20, 20), (6 * index, 0, 0)).save(tmp_path / name)
        found.append({"file": name, "animal": animal, "place": place, "split": ("train", "valid", "test")[index // 16]})
    return found


def write(rows: Sequence[dict[str, Any]], path: Path) -> Path:
    table = pa.table({name: [row.get(name) for row in rows] for name in rows[0]})
    match path.suffix:
        case ".parquet":
            pq.write_table(table, path)
        case ".jsonl":
            path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
        case suffix:
            options = pyarrow.csv.WriteOptions(delimiter="\t" if suffix == ".tsv" else ",")
            pyarrow.csv.write_csv(table, path, options)
    return path


def spec(path: Path, *more: str) -> str:
    return ",".join([f"table:path='{path}'", "image=file", "target=animal", "size=16", *more])


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet", ".jsonl"])
def test_a_table_says_what_its_images_are(rows: Rows, tmp_path: Path, suffix: str) -> None:
    store = opened(spec(write(rows, tmp_path / f"meta{suffix}"), "bias=place"))
    said = {"train": "train", "valid": "val", "test": "test"}
    expected: dict[str, list[list[Any]]] = {"train": [], "val": [], "test": []}
    for row in rows:
        expected[said[row["split"]]].append([row["file"], row["animal"], row["place"]])
    assert labels(store) == expected
    assert store.aligned_bias == (0, 1)
    assert [int(image[0, 0, 0]) for image in store.splits["train"].inputs] == [6 * index for index in range(16)]


def test_several_attributes_are_one(rows: Rows, tmp_path: Path) -> None:
    for index, row in enumerate(rows):
        row["time"] = ("day", "night")[index // 2 % 2]
    store = opened(spec(write(rows, tmp_path / "meta.csv"), "bias=place+time"))
    assert store.attributes == {"place": ("land", "water"), "time": ("day", "night")}
    assert store.bias_names[1] == "place=land, time=night"


def test_splits_are_made_where_there_are_none(rows: Rows, tmp_path: Path) -> None:
    for row in rows:
        del row["split"]
    path = write(rows, tmp_path / "meta.csv")
    store = opened(spec(path, "bias=place", "test=0.25", "val=0.25"))
    sizes = {name: len(split) for name, split in store.splits.items()}
    assert sizes == {"train": 22, "val": 8, "test": 10}
    groups = {tuple(label[1:]) for label in labels(store)["test"]}
    assert len(groups) == 4  # each has its share
    write(rows[::-1], path)  # who is drawn does not follow from the order
    again = labels(opened(spec(path, "bias=place", "test=0.25", "val=0.25")))
    assert {name: sorted(found) for name, found in again.items()} == {
        name: sorted(found) for name, found in labels(store).items()
    }


def test_numbers_are_classes_too(rows: Rows, tmp_path: Path) -> None:
    for row in rows:
        row["animal"], row["split"] = (
            {"cat": -1, "dog": 1}[row["animal"]],
            ("train", "valid", "test").index(row["split"]),
        )
    store = opened(spec(write(rows, tmp_path / "meta.csv")))
    assert store.class_names == ("-1", "1")
    assert store.bias_names == ()
    assert {name: len(split) for name, split in store.splits.items()} == {"train": 16, "val": 16, "test": 8}


@pytest.mark.parametrize(
    ("change", "more", "message"),
    [
        (
            {3: {"place": None}, 7: {"place": ""}},
            ["bias=place"],
            r"column 'place' has no value in 2 rows: 3; 7 \(.* is 0\). Give",
        ),
        ({3: {"file": "photos/x.png"}}, [], "1 of 40 images are missing: .*photos/x.png"),
        ({3: {"file": "../x.png"}}, [], "images that are not in its folder: ../x.png"),
        ({3: {"file": "photos/00.png"}}, [], "lists images twice: photos/00.png"),
        ({39: {"animal": "emu"}}, [], "no training image has the class emu"),
        ({3: {"split": "holdout"}}, [], "holdout is no split"),
        ({}, ["bias=colour"], "has no column 'colour'; it has 'file'; 'animal'; 'place'; 'split'"),
        ({}, ["split=fold"], "has no column 'fold'. Leave out split="),
    ],
)
def test_a_table_that_is_unsound_names_its_rows(
    rows: Rows, tmp_path: Path, change: dict[int, dict[str, Any]], more: list[str], message: str
) -> None:
    for index, values in change.items():
        rows[index].update(values)
    with pytest.raises(DataError, match=message):
        opened(spec(write(rows, tmp_path / "meta.parquet"), *more))


def test_images_that_cannot_be_read_are_named(rows: Rows, tmp_path: Path) -> None:
    for index in (2, 5):
        (tmp_path / rows[index]["file"]).write_bytes(b"no image")
    with pytest.raises(DataError, match=r"2 images .*02\.png.*05\.png"):
        opened(spec(write(rows, tmp_path / "meta.csv")))


@pytest.mark.parametrize("with_attribute", [True, False])
@pytest.mark.parametrize("with_split", [True, False])
def test_folders_say_what_images_are(rows: Rows, tmp_path: Path, with_attribute: bool, with_split: bool) -> None:
    for row in rows:
        parts = [*([row["split"]] if with_split else []), row["animal"], *([row["place"]] if with_attribute else [])]
        target = tmp_path.joinpath("all", *parts)
        target.mkdir(parents=True, exist_ok=True)
        (tmp_path / row["file"]).rename(target / Path(row["file"]).name)
    (tmp_path / "all" / "Thumbs.db").write_bytes(b"of a system")
    store = opened(f"folder:path='{tmp_path / 'all'}',size=16")
    sizes = {name: len(split) for name, split in store.splits.items()}
    assert sizes == ({"train": 16, "val": 16, "test": 8} if with_split else {"train": 32, "test": 8})
    assert store.class_names == ("cat", "dog")
    assert store.bias_names == (("land", "water") if with_attribute else ())
    for key, animal, place in [label for found in labels(store).values() for label in found]:
        assert key.split("/")[int(with_split)] == animal
        assert place == (key.split("/")[-2] if with_attribute else None)


def test_folders_of_unequal_depth_are_refused(rows: Rows, tmp_path: Path) -> None:
    (tmp_path / "all" / "cat" / "deep").mkdir(parents=True)
    for name in ("cat/0.png", "cat/deep/1.png"):
        shutil.copy(tmp_path / rows[0]["file"], tmp_path / "all" / name)
    with pytest.raises(DataError, match=r"these do not: cat/deep/1\.png"):
        opened(f"folder:path='{tmp_path / 'all'}',size=16")


def vectors(path: Path, **changed: Any) -> Path:
    given: dict[str, Any] = {
        "inputs": np.arange(120, dtype=np.float64).reshape(40, 3),
        "target": np.array(["cat", "dog"])[np.arange(40) % 2],
        "place": np.arange(40) // 2 % 2,
        **changed,
    }
    arrays = {name: array for name, array in given.items() if array is not None}
    if path.suffix == ".npz":
        np.savez(path, **arrays)
    elif path.suffix == ".safetensors":
        arrays["target"] = (np.arange(40) % 2).astype(np.int64)
        pytest.importorskip("safetensors.numpy").save_file(arrays, path)
    else:
        pq.write_table(pa.table({name: list(array) for name, array in arrays.items()}), path)
    return path


@pytest.mark.parametrize("suffix", [".npz", ".safetensors", ".parquet"])
def test_vectors_of_every_kind_of_file(tmp_path: Path, suffix: str) -> None:
    store = opened(f"features:path='{vectors(tmp_path / f'clip{suffix}')}',bias=place")
    assert {name: len(split) for name, split in store.splits.items()} == {"train": 32, "test": 8}
    for split in store.splits.values():
        rows = np.asarray(split.ids).astype(int)
        np.testing.assert_array_equal(split.inputs, np.arange(120).reshape(40, 3)[rows])
        np.testing.assert_array_equal(split.target, rows % 2)
        np.testing.assert_array_equal(split.bias, rows // 2 % 2)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"inputs": np.where(np.arange(120) == 7, np.nan, 0).reshape(40, 3)}, "1 vectors .* rows 2"),
        ({"inputs": np.full((40, 3), 1e300)}, "40 vectors have numbers that are not finite"),
        ({"inputs": np.zeros(40)}, r"'inputs' must be numbers \(N, D\)"),
        ({"target": np.arange(39) % 2}, r"40 vectors, and target has \(39,\) labels"),
        ({"target": np.linspace(0, 1, 40)}, "labels must be whole numbers or names: target is float64"),
        ({"target": None}, "has no target; it has inputs; place"),
        ({"target": np.array([{}] * 40, dtype=object)}, "damaged, or holds Python objects"),
    ],
)
def test_vectors_that_are_unsound_are_refused(tmp_path: Path, changed: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        opened(f"features:path='{vectors(tmp_path / 'clip.npz', **changed)}'")


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ([[1.0, 2.0], [3.0, None]], "'inputs' has a missing number in row 1"),
        ([[1.0, 2.0], None], "'inputs' has no value in row 1"),
        ([[1.0, 2.0], [3.0]], "'inputs' has 1 numbers in row 1, but 2 in row 0"),
        ([1.0, 2.0], r"'inputs' must be numbers \(N, D\)"),
        ([["a"], ["b"]], r"'inputs' must be numbers \(N, D\)"),
    ],
)
def test_columns_of_vectors_that_are_unsound_are_refused(tmp_path: Path, inputs: list[Any], message: str) -> None:
    pq.write_table(pa.table({"inputs": inputs, "target": [0, 1]}), tmp_path / "clip.parquet")
    with pytest.raises(DataError, match=message):
        opened(f"features:path='{tmp_path / 'clip.parquet'}'")


def test_a_record_holds_no_path(tmp_path: Path, cli: Cli) -> None:
    path = vectors(tmp_path / "secret name.npz")
    text = f"features:path='{path}',bias=place"
    settings = {"recipe.epochs": 1}
    result = ncbench.run("erm", text, set=settings, output=tmp_path / "runs", warn=lambda line: None)
    content = result.path.read_text() + (result.folder / "log.jsonl").read_text()
    assert "secret" not in content
    assert re.search(r"path=sha256-[0-9a-f]{16}", result.record.dataset.spec)
    assert result.record.backbone.name == "identity"
    model = ncbench.load_model(result, dataset=text)
    assert len(model.predict(np.zeros((3, 3), np.float32))) == 3
    with pytest.raises(ConfigurationError, match="the digest that a record has in place of a path"):
        ncbench.load_model(result)
    moved = path.rename(tmp_path / "elsewhere.npz")  # the same data are the same run
    again = ncbench.run("erm", text.replace(str(path), str(moved)), set=settings, output=tmp_path / "runs")
    assert again.record.run_id == result.record.run_id
    vectors(moved, inputs=np.zeros((40, 3)))
    other = ncbench.run("erm", text.replace(str(path), str(moved)), set=settings, output=tmp_path / "runs")
    assert other.record.run_id != result.record.run_id
    code, _, err = cli("run", "--dataset", f"features:path='{path}'")
    assert (code, err.count("\n")) == (3, 1)
    by_val = ("--set", "recipe.selection=val_accuracy", "--output", tmp_path / "runs")
    code, _, err = cli("run", "--method", "erm", "--dataset", f"features:path='{moved}'", *by_val)
    assert code == 2
    assert "Possible here: last. Its parameter val=0.1 holds one out." in err


def test_an_image_that_was_changed_is_noticed(rows: Rows, tmp_path: Path) -> None:
    text, settings = spec(write(rows, tmp_path / "meta.csv")), {"recipe.epochs": 1, "recipe.augmentation": "none"}

    def run(force: bool = False) -> str:
        result = ncbench.run(
            "erm", text, backbone="mlp", set=settings, output=tmp_path / "runs", force=force, warn=lambda line: None
        )
        return result.record.dataset.fingerprint

    before = run()
    assert run() == before
    Image.new("RGB", (20, 20), (0, 0, 9)).save(tmp_path / rows[0]["file"])
    with pytest.raises(DataError, match="made of other images or labels than there are now"):
        run()
    assert run(force=True) != before


def test_they_never_rank(tmp_path: Path) -> None:
    result = ncbench.run(
        "erm",
        f"features:path='{vectors(tmp_path / 'clip.npz')}'",
        set={"recipe.epochs": 1},
        output=tmp_path / "runs",
        warn=lambda line: None,
    )
    entry = inspect(result.path.read_bytes(), Catalogue.built_in())
    assert entry.exclusion is not None
    assert "whatever data a user has" in entry.exclusion.reason
