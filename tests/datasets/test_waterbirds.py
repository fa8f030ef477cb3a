from __future__ import annotations

import csv
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import ncbench
from ncbench import DataError
from ncbench.contracts.specs import Spec
from ncbench.data.sources.manifest import load_manifest
from ncbench.data.store.decode import Framing, decode
from ncbench.data.store.open import Store, open_store
from ncbench.data.store.prepare import prepare
from ncbench.data.store.verify import verify

from .conftest import CARDS

CARD = CARDS["waterbirds"]
FOLDER = "waterbird_complete95_forest2water2"
MANIFEST = load_manifest(CARD.manifest)
SMALL = "waterbirds:size=32"


def _dataset(root: Path, size: int = 32) -> Any:
    kind = CARD.load()
    return kind(kind.Parameters(size=size), root)


def _open(root: Path) -> Store:
    dataset = _dataset(root)
    return open_store(dataset, dataset.params.spec("waterbirds"), MANIFEST.for_twin())


def _rows(root: Path) -> list[dict[str, str]]:
    with (root / FOLDER / "metadata.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def _rewrite(root: Path, change: Callable[[list[dict[str, str]]], None]) -> None:
    rows = _rows(root)
    change(rows)
    with (root / FOLDER / "metadata.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)


# ---------------------------------------------------------------- what is read


def test_the_table_says_what_every_image_is(root: Path) -> None:
    store, rows = _open(root), _rows(root)
    assert store.class_names == ("landbird", "waterbird")
    assert store.bias_names == ("land", "water")
    assert store.aligned_bias == (0, 1)
    for code, split in enumerate(("train", "val", "test")):
        mine = [row for row in rows if row["split"] == str(code)]
        stored = store.splits[split]
        assert stored.ids.tolist() == [row["img_filename"] for row in mine]
        assert stored.target.tolist() == [int(row["y"]) for row in mine]
        assert stored.bias is not None
        assert stored.bias.tolist() == [int(row["place"]) for row in mine]
        # The shorter side fills 8/7 of the size before the middle is cropped out: 256 for 224.
        for row, image in list(zip(mine, stored.inputs, strict=True))[:5]:
            path = root / FOLDER / row["img_filename"]
            np.testing.assert_array_equal(image, decode(path, Framing((32, 32), shorter_side=37)))


def test_a_table_may_start_with_a_byte_order_mark(root: Path) -> None:
    table = root / FOLDER / "metadata.csv"
    ids = _dataset(root).read()["train"].ids
    table.write_bytes(b"\xef\xbb\xbf" + table.read_bytes())
    assert _dataset(root).read()["train"].ids == ids


def test_the_default_framing_is_the_published_one(root: Path) -> None:
    dataset = _dataset(root, size=224)
    assert (dataset.image_size, dataset.shorter_side) == ((224, 224), 256)


def _as_hub_files(root: Path, parts: int = 2) -> None:
    """Turn the twin into the hub's files, the training split in `parts` of several row groups each."""
    rows = _rows(root)
    folder = root / FOLDER / "data"
    folder.mkdir()
    for code, name in enumerate(("train", "validation", "test")):
        mine = [row for row in rows if row["split"] == str(code)]
        number = parts if name == "train" else 1
        for part in range(number):
            few = mine[part * len(mine) // number : (part + 1) * len(mine) // number]
            table = {
                "image": pa.array([{"bytes": (root / FOLDER / row["img_filename"]).read_bytes()} for row in few]),
                "label": pa.array([int(row["y"]) for row in few]),
                "place": pa.array([int(row["place"]) for row in few]),
                "bird": pa.array([int(row["img_filename"][:3]) for row in few]),
            }
            path = folder / f"{name}-{part:05d}-of-{number:05d}.parquet"
            pq.write_table(pa.table(table), path, row_group_size=17)
    (root / FOLDER / "metadata.csv").unlink()


def test_the_hubs_files_give_the_same_images_and_labels(root: Path) -> None:
    released = _open(root)
    _as_hub_files(root)
    mirrored = _open(root)
    assert mirrored.fingerprint == released.fingerprint
    assert mirrored.splits["val"].ids[3] == "val-00003"
    # Less training images are other ones: the ids differ. They are decoded from the same files.
    kind = CARD.load()
    spec = Spec("waterbirds", {"size": 32, "per_class": 5})
    store = open_store(kind(kind.Parameters(size=32), root), spec, MANIFEST.for_twin())
    assert np.bincount(store.splits["train"].target).tolist() == [5, 5]
    row = int(str(store.splits["train"].ids[2]).removeprefix("train-"))
    np.testing.assert_array_equal(store.splits["train"].inputs[2], mirrored.splits["train"].inputs[row])


def test_an_epoch_with_the_data_in_place(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ncbench.data.store.prepare.load_manifest", lambda reference: MANIFEST.for_twin())
    result = ncbench.run(
        "shortcut_prime", SMALL, backbone="small_cnn", set={"recipe.epochs": 1}, output=tmp_path, data_root=root
    )
    record = result.record
    assert record.status == "completed"
    assert not record.dataset.synthetic
    assert "val_worst_group_accuracy" in record.selection
    assert set(record.groups) == {"train", "val", "test"}
    # The literature's average: test groups weighted by their share of the training images.
    share = {(group.target, group.bias): group.count for group in record.groups["train"]}
    assert share == {(0, 0): 26, (0, 1): 2, (1, 0): 2, (1, 1): 18}
    adjusted = sum(share[g.target, g.bias] * g.correct / g.count for g in record.groups["test"]) / 48
    assert record.metrics["test"]["adjusted_accuracy"] == pytest.approx(adjusted, abs=1e-12)


def test_the_place_is_learnt_before_the_bird(tmp_path: Path) -> None:
    changes = {"recipe.epochs": 3, "recipe.lr": 0.01, "recipe.augmentation": "none", "recipe.batch_size": 8}
    result = ncbench.run("erm", SMALL, backbone="small_cnn", set=changes, output=tmp_path, synthetic=True)
    test = result.metrics["test"]
    assert test["aligned_accuracy"] > 0.9
    assert test["conflicting_accuracy"] < 0.1


# ---------------------------------------------------------------- what is missing, damaged or another dataset


@pytest.mark.usefixtures("no_data")
def test_without_it_one_line_says_what_to_do(cache: Path) -> None:
    with pytest.raises(DataError) as caught:
        prepare(CARD, {})
    message = str(caught.value)
    assert "\n" not in message
    assert str(cache / "data" / FOLDER) in message
    assert "ncbench data fetch waterbirds; or by hand: download https://nlp.stanford.edu" in message
    assert f"so that {FOLDER}/metadata.csv lies there" in message


def test_missing_images_are_counted_and_named(root: Path) -> None:
    names = [row["img_filename"] for row in _rows(root)][:30]
    for name in names:
        (root / FOLDER / name).unlink()
    with pytest.raises(DataError) as caught:
        _dataset(root).source_files()
    message = str(caught.value)
    assert message.startswith("30 of 128 images are missing")
    assert "and 10 more" in message
    shutil.rmtree(root / FOLDER / "059.California_Gull")
    with pytest.raises(DataError, match="56 of 128 images are missing"):
        _dataset(root).source_files()


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("y", "2", "line 7: y is '2'"),
        ("y", "", "line 7: y is ''"),
        ("split", "-1", "line 7: split is '-1'"),
        ("place", "water", "line 7: place is 'water'"),
        ("img_filename", "../secret.jpg", "line 7: img_filename is '../secret.jpg'"),
        ("img_filename", "/etc/passwd", "line 7: img_filename is '/etc/passwd'"),
        ("img_filename", "", "line 7: img_filename is ''"),
        ("img_filename", None, "line 7: the image is that of line 2"),
    ],
)
def test_rows_that_make_no_sense_are_named(root: Path, key: str, value: str | None, message: str) -> None:
    def change(rows: list[dict[str, str]]) -> None:
        rows[5][key] = rows[0][key] if value is None else value
        rows[8]["y"] = "x"

    _rewrite(root, change)
    with pytest.raises(DataError) as caught:
        _open(root)
    assert message in str(caught.value)
    assert "line 10: y is 'x'" in str(caught.value)
    assert "metadata.csv is damaged in 2 rows" in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "has no column img_filename, y, split, place, but"),
        (b"img_id,img_filename,y,split\n1,a.jpg,0,0\n", "has no column place, but img_id, img_filename, y, split"),
        (b"img_filename,y,split,place\na.jpg,0,0\n", "line 2: place is missing"),
        (b"\xff\xfe\x00", "cannot be read"),
    ],
)
def test_a_table_of_another_kind_is_refused(root: Path, content: bytes, message: str) -> None:
    (root / FOLDER / "metadata.csv").write_bytes(content)
    with pytest.raises(DataError, match=message):
        _dataset(root).source_files()


def test_a_folder_without_either_layout(root: Path) -> None:
    (root / FOLDER / "metadata.csv").unlink()
    with pytest.raises(DataError, match=r"holds neither metadata\.csv nor the hub's parquet files"):
        _dataset(root).source_files()


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"label": [0, 1]}, "has no column 'place', but image; label"),
        (
            {"label": [0, None], "place": [None, None]},
            "1 rows without label: row 1; 2 rows without place",
        ),
        ({"label": ["a", "b"], "place": [0, 1]}, "the column 'label' holds string, not integers"),
        ({"label": [0, 1], "place": [0, 1], "image": [0, 1]}, "the column 'image' holds int64, neither"),
        ({"label": [0, 2], "place": [0, 1]}, "1 target labels outside 0..1: train-00001 has 2"),
    ],
)
def test_hub_files_that_do_not_fit_are_refused(root: Path, columns: Mapping[str, Any], message: str) -> None:
    _as_hub_files(root, parts=1)
    path = root / FOLDER / "data" / "train-00000-of-00001.parquet"
    image = pq.read_table(path)["image"][:2].combine_chunks()
    pq.write_table(pa.table({"image": image, **{name: pa.array(values) for name, values in columns.items()}}), path)
    with pytest.raises(DataError) as caught:
        _open(root)
    assert message in str(caught.value)
    assert "train-0000" in str(caught.value)


def test_bad_images_inside_hub_files_are_named(root: Path) -> None:
    _as_hub_files(root, parts=1)
    path = root / FOLDER / "data" / "test-00000-of-00001.parquet"
    table = pq.read_table(path)
    images = table["image"].to_pylist()
    images[3]["bytes"], images[40]["bytes"] = None, images[40]["bytes"][:300]
    pq.write_table(table.set_column(0, "image", pa.array(images)), path, row_group_size=17)
    problems = verify(_dataset(root), _dataset(root).params.spec("waterbirds"), MANIFEST.for_twin())
    assert len(problems) == 2
    assert problems[0] == f"{path}, row 3 (it has no bytes)"
    assert problems[1].startswith(f"{path}, row 40 (")


def test_a_damaged_hub_file_is_named(root: Path) -> None:
    _as_hub_files(root, parts=1)
    path = root / FOLDER / "data" / "test-00000-of-00001.parquet"
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match=r"test-00000-of-00001\.parquet is truncated or damaged"):
        _open(root)


# ---------------------------------------------------------------- the released numbers of images


def _groups(root: Path) -> Mapping[str, tuple[tuple[int, ...], ...]]:
    counts = {}
    for name, split in _dataset(root).read().items():
        table = np.zeros((2, 2), dtype=int)
        np.add.at(table, (split.target, split.bias), 1)
        counts[name] = tuple(map(tuple, table.tolist()))
    return counts


RELEASED = {name: counts.groups for name, counts in MANIFEST.counts.items()}


def test_the_released_table_has_the_counts_of_the_manifest(root: Path) -> None:
    lines = ["img_id,img_filename,y,split,place,place_filename"]
    for split, groups in enumerate(RELEASED.values()):
        for y, row in enumerate(groups or ()):
            for place, number in enumerate(row):
                lines += [f"{len(lines)},{y}/{len(lines) + index}.jpg,{y},{split},{place},-" for index in range(number)]
    assert len(lines) == 1 + 11_788
    (root / FOLDER / "metadata.csv").write_text("\n".join(lines) + "\n")
    assert _groups(root) == RELEASED


@pytest.mark.real_data
def test_a_table_with_another_split_is_told_by_its_counts(root: Path) -> None:
    lookalike = Path(os.environ["NCBENCH_DATA"]) / "waterbirds_lookalike" / "metadata.csv"
    shutil.copy(lookalike, root / FOLDER / "metadata.csv")
    found = _groups(root)
    assert found["train"] == ((3525, 186), (54, 1030))
    assert found["train"] != RELEASED["train"]
    assert found["test"] == RELEASED["test"]
