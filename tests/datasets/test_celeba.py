from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import ncbench
from ncbench import ConfigurationError, DataError
from ncbench.data.sources.manifest import load_manifest
from ncbench.data.store.decode import Framing, decode
from ncbench.data.store.open import Store, open_store
from ncbench.data.store.verify import verify
from ncbench_datasets.layouts.celeba_tables import ATTRIBUTES, read_attributes, read_partition

from .conftest import CARDS

CARD = CARDS["celeba"]
MANIFEST = load_manifest(CARD.manifest)
TRAIN = {(0, 0): 4, (0, 1): 22, (1, 0): 20, (1, 1): 2}


def _dataset(root: Path, **params: Any) -> Any:
    kind = CARD.load()
    return kind(kind.Parameters.build({"size": 32, **params}, owner="celeba"), root)


def _open(root: Path, **params: Any) -> Store:
    dataset = _dataset(root, **params)
    return open_store(dataset, dataset.params.spec("celeba"), MANIFEST.for_twin())


def _lines(root: Path, name: str) -> list[str]:
    return (root / "celeba" / name).read_text().splitlines()


def _rewrite(root: Path, name: str, change: Callable[[list[str]], None]) -> None:
    lines = _lines(root, name)
    change(lines)
    (root / "celeba" / name).write_text("\n".join(lines) + "\n")


# ---------------------------------------------------------------- what is read


def test_the_tables_say_what_every_image_is(root: Path) -> None:
    store = _open(root)
    assert store.class_names == ("no Blond_Hair", "Blond_Hair")
    assert store.bias_names == ("no Male", "Male")
    train = store.splits["train"]
    assert train.bias is not None
    groups = list(zip(train.target.tolist(), train.bias.tolist(), strict=True))
    assert {group: groups.count(group) for group in sorted(set(groups))} == TRAIN
    assert [len(split) for split in store.splits.values()] == [48, 32, 48]
    assert store.splits["val"].ids[0] == "000049.jpg"
    header = _lines(root, "list_attr_celeba.txt")[1].split()
    for line in _lines(root, "list_attr_celeba.txt")[2:10]:
        name, *values = line.split()
        row = train.ids.tolist().index(name)
        assert train.target[row] == (values[header.index("Blond_Hair")] == "1")
        assert train.bias[row] == (values[header.index("Male")] == "1")
        path = root / "celeba" / "img_align_celeba" / name
        np.testing.assert_array_equal(train.inputs[row], decode(path, Framing((32, 32))))


@pytest.mark.parametrize("layout", ["txt", "csv"])
def test_a_table_may_start_with_a_byte_order_mark(root: Path, layout: str) -> None:
    if layout == "csv":
        _as_csv(root)
    fingerprint = _open(root).fingerprint
    for path in (root / "celeba").glob(f"*.{layout}"):
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert _open(root).fingerprint == fingerprint


def test_blond_hair_goes_along_with_not_being_male(root: Path) -> None:
    assert _open(root).aligned_bias == (1, 0)
    # Any pair: its alignment is what its training images say.
    for target, bias in (("Male", "Blond_Hair"), ("Smiling", "Young"), ("Bald", "No_Beard")):
        dataset = _dataset(root, target=target, bias=bias)
        train = dataset.read()["train"]
        correlated = np.corrcoef(train.target, train.bias)[0, 1] >= 0
        assert dataset.aligned_bias == ((0, 1) if correlated else (1, 0))


def test_the_image_is_the_middle_square(tmp_path: Path) -> None:
    rows, columns = np.mgrid[0:218, 0:178]
    smooth = np.stack([rows, columns, 128 + 100 * np.sin(rows / 9) * np.sin(columns / 7)], axis=2).clip(0, 255)
    image = Image.fromarray(smooth.astype(np.uint8))
    image.save(tmp_path / "image.png")
    published = np.asarray(image.crop((0, 20, 178, 198)).resize((224, 224), Image.Resampling.BILINEAR)).astype(int)
    difference = np.abs(decode(tmp_path / "image.png", Framing((224, 224))) - published)
    assert difference.max() <= 4  # an eighth of a pixel, where the third channel changes by 11 a pixel
    assert difference.mean() < 0.5


def _as_csv(root: Path) -> None:
    folder = root / "celeba"
    attributes = [line.split() for line in _lines(root, "list_attr_celeba.txt")[1:]]
    rows = [",".join(["image_id", *attributes[0]]), *(",".join(row) for row in attributes[1:])]
    (folder / "list_attr_celeba.csv").write_text("\n".join(rows) + "\n")
    parts = [line.split() for line in _lines(root, "list_eval_partition.txt")]
    rows = ["image_id,partition", *(",".join(row) for row in reversed(parts))]  # in another order
    (folder / "list_eval_partition.csv").write_text("\n".join(rows) + "\n")
    for path in folder.glob("*.txt"):
        path.unlink()
    (folder / "img_align_celeba").rename(folder / "moved")
    (folder / "img_align_celeba").mkdir()
    (folder / "moved").rename(folder / "img_align_celeba" / "img_align_celeba")


def _as_hub_files(root: Path, layout: str) -> None:
    names, attributes = read_attributes(root / "celeba" / "list_attr_celeba.txt")
    _, parts = read_partition(root / "celeba" / "list_eval_partition.txt")
    folder, splits = {
        "flwrlabs": ("img_align+identity+attr", ("train", "valid", "test")),
        "eurecom": ("data", ("train", "validation", "test")),
    }[layout]
    (root / "celeba" / folder).mkdir()
    for code, split in enumerate(splits):
        mine = np.flatnonzero(parts == code)
        images = [{"bytes": (root / "celeba/img_align_celeba" / name).read_bytes()} for name in names[mine]]
        table: dict[str, Any] = {"image": images, "celeb_id": list(range(len(mine)))}
        if layout == "flwrlabs":
            table |= {name: [bool(value) for value in values[mine]] for name, values in attributes.items()}
        else:
            table["attributes"] = np.stack([attributes[name][mine] for name in ATTRIBUTES], axis=1).tolist()
        pq.write_table(pa.table(table), root / "celeba" / folder / f"{split}-00000-of-00001.parquet", row_group_size=20)
    for path in (root / "celeba").glob("*.txt"):
        path.unlink()


@pytest.mark.parametrize("layout", ["csv", "flwrlabs", "eurecom"])
def test_every_layout_gives_the_same(root: Path, layout: str) -> None:
    released = _open(root, target="Smiling", bias="Blond_Hair").fingerprint
    if layout == "csv":
        _as_csv(root)
    else:
        _as_hub_files(root, layout)
    assert _open(root, target="Smiling", bias="Blond_Hair").fingerprint == released


def test_an_epoch_with_the_data_in_place(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert verify(_dataset(root), _dataset(root).params.spec("celeba"), MANIFEST.for_twin()) == []
    monkeypatch.setattr("ncbench.data.store.prepare.load_manifest", lambda reference: MANIFEST.for_twin())
    changes = {"recipe.epochs": 3, "recipe.lr": 0.01, "recipe.augmentation": "none", "recipe.batch_size": 8}
    result = ncbench.run("erm", "celeba:size=32", backbone="small_cnn", set=changes, output=tmp_path, data_root=root)
    assert result.status == "completed"
    # The twin's bias is learnt before its class, and the aligned groups are the blond women and the dark-haired men.
    correct = {(g.target, g.bias): g.correct / g.count for g in result.record.groups["test"]}
    assert result.metrics["test"]["aligned_accuracy"] == (correct[0, 1] + correct[1, 0]) / 2
    assert result.metrics["test"]["aligned_accuracy"] > result.metrics["test"]["conflicting_accuracy"] + 0.5


# ---------------------------------------------------------------- the counts


def test_the_groups_are_promised_for_the_default_pair_only(root: Path) -> None:
    spec = _dataset(root).params.spec("celeba")
    assert any("groups" in problem or "group" in problem for problem in verify(_dataset(root), spec, MANIFEST))
    other = _dataset(root, target="Smiling")
    problems = verify(other, other.params.spec("celeba"), MANIFEST)
    assert any("162770" in problem for problem in problems)
    assert not any("71629" in problem for problem in problems)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"target": "Blonde_Hair"}, "it is no attribute of CelebA: the nearest is Blond_Hair"),
        ({"bias": "xyz"}, "there are 5_o_Clock_Shadow, Arched_Eyebrows"),
        ({"target": "Male"}, "'bias' of celeba is not valid: it is the target already"),
    ],
)
def test_two_different_attributes_are_needed(params: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        CARD.load().Parameters.build(params, owner="celeba")


# ---------------------------------------------------------------- what is missing or damaged


@pytest.mark.parametrize("layout", ["txt", "csv"])
@pytest.mark.parametrize("value", ["0", "", "2", "x"])
def test_values_other_than_the_two_are_named(root: Path, layout: str, value: str) -> None:
    if layout == "csv":
        _as_csv(root)

    def change(lines: list[str]) -> None:
        separator = "," if layout == "csv" else None
        for line in (5, 9):
            cells = lines[line].split(separator)
            cells[40] = value or '""' * (layout == "txt")
            lines[line] = (separator or " ").join(cells)

    _rewrite(root, f"list_attr_celeba.{layout}", change)
    with pytest.raises(DataError, match=rf"list_attr_celeba\.{layout} holds 2 values other than -1 and 1") as caught:
        _open(root)
    row = 5 if layout == "csv" else 4
    assert f"in row {row}; Young" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("list_attr_celeba.txt", lambda lines: lines.pop(), "says that it lists 128 images, and lists 127"),
        ("list_attr_celeba.txt", lambda lines: lines.pop(0), "does not begin with the number of its images"),
        (
            "list_attr_celeba.txt",
            lambda lines: lines.__setitem__(1, lines[1].replace("Male", "Men")),
            "'Male'.* does not exist",
        ),
        ("list_attr_celeba.txt", lambda lines: lines.__setitem__(7, lines[7][:60]), "1 rows of another length"),
        ("list_attr_celeba.txt", lambda lines: lines.__setitem__(7, lines[8]), "names twice: 000007.jpg"),
        ("list_attr_celeba.txt", lambda lines: lines.__setitem__(7, "../" + lines[7]), r"strange names.*\.\./000006"),
        (
            "list_eval_partition.txt",
            lambda lines: lines.__setitem__(3, "000004.jpg 3"),
            "other parts than 0, 1 and 2: '3' in row 4",
        ),
        ("list_eval_partition.txt", lambda lines: lines.__setitem__(3, "000004.jpg"), "1 rows of another length"),
        ("list_eval_partition.txt", lambda lines: lines.pop(), "1 images are in one of .* only: 000128.jpg"),
        ("list_eval_partition.txt", lambda lines: lines.clear(), "128 images are in one of"),
    ],
)
def test_damaged_tables_are_named(root: Path, name: str, change: Callable[[list[str]], None], message: str) -> None:
    _rewrite(root, name, change)
    with pytest.raises(DataError, match=message) as caught:
        _open(root)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_files_are_named(root: Path) -> None:
    (root / "celeba/img_align_celeba/000003.jpg").unlink()
    with pytest.raises(DataError, match=r"1 of 128 images are missing: .*000003\.jpg"):
        _dataset(root).source_files()
    (root / "celeba/list_eval_partition.txt").unlink()
    with pytest.raises(DataError, match=r"list_eval_partition\.txt is missing, and there is no .*csv either"):
        _dataset(root).source_files()


def test_hub_files_with_other_values_are_refused(root: Path) -> None:
    _as_hub_files(root, "eurecom")
    path = root / "celeba/data/test-00000-of-00001.parquet"
    table = pq.read_table(path)
    rows = table["attributes"].to_pylist()
    rows[2][ATTRIBUTES.index("Male")] = -1
    column = table.column_names.index("attributes")
    pq.write_table(table.set_column(column, "attributes", pa.array(rows)), path)
    with pytest.raises(DataError, match=r"1 values of Male are neither 0 nor 1: -1 in .*parquet, row 2"):
        _open(root)
    pq.write_table(table.set_column(column, "attributes", pa.array([row[:39] for row in rows])), path)
    with pytest.raises(DataError, match="39 attributes, not 40"):
        _open(root)
    pq.write_table(table.set_column(column, "attributes", pa.array([rows[0][:3], *rows[1:]])), path)
    with pytest.raises(DataError, match="several lengths"):
        _open(root)
