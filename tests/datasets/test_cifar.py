from __future__ import annotations

import io
import json
import os
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from ncbench import DataError
from ncbench.data.sources.manifest import load_manifest
from ncbench.data.store.open import open_store
from ncbench.data.store.prepare import prepare
from ncbench_datasets.cifar100 import CLASSES, class_tree, superclasses
from ncbench_datasets.layouts.cifar_files import read_binary
from ncbench_datasets.layouts.hierarchies import load_hierarchy
from ncbench_datasets.layouts.hub_files import read_pictures, write_pictures

from .conftest import CARDS

LABELS = {"cifar100": ("coarse_label", "fine_label"), "cifar10": ("label",)}


@pytest.fixture(scope="module")
def twins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data root with every twin; read only."""
    root = tmp_path_factory.mktemp("twins")
    for name in LABELS:
        CARDS[name].load().synthesize(root)
    return root


@pytest.fixture
def root(twins: Path, tmp_path: Path) -> Path:
    """A data root with cifar100's twin that a test may damage."""
    folder = tmp_path / "root" / "cifar100"
    folder.mkdir(parents=True)
    for path in (twins / "cifar100").iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    return folder.parent


def _dataset(name: str, root: Path) -> Any:
    kind = CARDS[name].load()
    return kind(kind.Parameters(), root)


def _open(name: str, root: Path) -> Any:
    dataset = _dataset(name, root)
    return open_store(dataset, dataset.params.spec(name), load_manifest(CARDS[name].manifest).for_twin())


def _rows(path: Path, labels: tuple[str, ...]) -> tuple[np.ndarray, Mapping[str, np.ndarray]]:
    """Read a parquet file another way: whole, as Python objects."""
    rows = pq.read_table(path).to_pylist()
    images = np.stack([np.asarray(Image.open(io.BytesIO(row["img"]["bytes"]))) for row in rows])
    return images, {name: np.array([row[name] for row in rows]) for name in labels}


def _records(path: Path, labels: tuple[str, ...]) -> bytes:
    """The same images as records of the binary version."""
    images, values = _rows(path, labels)
    records = [
        bytes(int(values[name][row]) for name in labels) + b"".join(image[:, :, c].tobytes() for c in range(3))
        for row, image in enumerate(images)
    ]
    return b"".join(records)


def _as_binary(name: str, root: Path) -> None:
    """Turn a twin's parquet files into the binary version."""
    kind = CARDS[name].load()
    folder = root / name / kind.binary_folder
    folder.mkdir()
    for split, files in kind.binary_files.items():
        path = root / name / f"{split}-00000-of-00001.parquet"
        content = _records(path, LABELS[name])
        record = 3072 + len(LABELS[name])
        step = -(-len(content) // record // len(files)) * record
        for number, file in enumerate(files):
            (folder / file).write_bytes(content[number * step : (number + 1) * step])
        path.unlink()


# ---------------------------------------------------------------- what is read


@pytest.mark.parametrize("name", list(LABELS))
def test_the_parquet_layout_is_read_as_it_is(name: str, twins: Path) -> None:
    store = _open(name, twins)
    for split, stored in store.splits.items():
        images, labels = _rows(twins / name / f"{split}-00000-of-00001.parquet", LABELS[name])
        np.testing.assert_array_equal(stored.inputs, images)
        np.testing.assert_array_equal(stored.target, labels[LABELS[name][-1]])
        assert stored.ids[3] == f"{split}-00003"
        assert stored.bias is None
        assert set(stored.target.tolist()) == set(range(len(store.class_names)))
    assert store.aligned_bias is None


@pytest.mark.parametrize("name", list(LABELS))
def test_the_binary_layout_gives_the_same(name: str, twins: Path, tmp_path: Path) -> None:
    (tmp_path / name).mkdir()
    for path in (twins / name).iterdir():
        (tmp_path / name / path.name).write_bytes(path.read_bytes())
    _as_binary(name, tmp_path)
    assert _open(name, tmp_path).fingerprint == _open(name, twins).fingerprint


def test_the_hubs_own_folder_and_several_files_are_found(root: Path) -> None:
    whole = _open("cifar100", root)
    images, labels = _rows(root / "cifar100" / "train-00000-of-00001.parquet", LABELS["cifar100"])
    nested = root / "cifar100" / "cifar100"
    nested.mkdir()
    for number, rows in enumerate((slice(0, 250), slice(250, None))):
        part = {name: values[rows] for name, values in labels.items()}
        write_pictures(nested / f"train-{number:05d}-of-00002.parquet", "img", images[rows], part)
    (root / "cifar100" / "train-00000-of-00001.parquet").unlink()
    (root / "cifar100" / "test-00000-of-00001.parquet").rename(nested / "test-00000-of-00001.parquet")
    assert _open("cifar100", root).fingerprint == whole.fingerprint
    (nested / "train-00000-of-00002.parquet").unlink()
    with pytest.raises(DataError, match=r"train-00000-of-00002\.parquet is missing"):
        _dataset("cifar100", root).source_files()


def test_webp_is_read_as_png_is(root: Path) -> None:
    before = _open("cifar100", root).fingerprint
    for split in ("train", "test"):
        path = root / "cifar100" / f"{split}-00000-of-00001.parquet"
        images, labels = _rows(path, LABELS["cifar100"])
        _write(path, [_encode(image, "WEBP", lossless=True) for image in images], labels)
    assert _open("cifar100", root).fingerprint == before


def _encode(image: np.ndarray, kind: str, **options: Any) -> bytes:
    encoded = io.BytesIO()
    Image.fromarray(image).save(encoded, kind, **options)
    return encoded.getvalue()


def _write(path: Path, images: list[bytes | None], columns: Mapping[str, Any]) -> None:
    struct = pa.array([{"bytes": image, "path": "x"} for image in images])
    pq.write_table(pa.table({"img": struct, **{name: pa.array(values) for name, values in columns.items()}}), path)


# ---------------------------------------------------------------- the tree


def test_the_tree_has_the_published_superclasses() -> None:
    tree = class_tree()
    assert tree.classes == CLASSES
    assert tree.height == 5
    assert list(CLASSES) == sorted(CLASSES)
    assert np.bincount(superclasses()).tolist() == [5] * 20
    fish = {"aquarium_fish", "flatfish", "ray", "shark", "trout"}
    assert {CLASSES[index] for index in np.flatnonzero(superclasses() == 1)} == fish
    distances = tree.distances()
    same = superclasses()[:, None] == superclasses()[None, :]
    np.testing.assert_array_equal(np.asarray(distances) <= 1, same)


def test_a_store_carries_the_tree(twins: Path) -> None:
    assert _open("cifar100", twins).hierarchy == class_tree()


def test_a_tree_is_matched_by_name(tmp_path: Path) -> None:
    path = tmp_path / "tree.json"
    content = {"classes": ["a", "b", "c"], "node_names": ["a", "b", "c", "ab", "r"], "parent": [3, 3, 4, 4, -1]}
    path.write_text(json.dumps(content))
    assert load_hierarchy(path, ["c", "a", "b"]).classes == ("c", "a", "b")
    assert load_hierarchy(path, ["c", "a", "b"]).distances().tolist() == [[0, 2, 2], [2, 0, 1], [2, 1, 0]]
    with pytest.raises(DataError, match="class 'x' is not in it; its leaf 'c' is no class"):
        load_hierarchy(path, ["a", "b", "x"])
    for text in ("{", "[]", json.dumps(content | {"parent": [3, 3, 4, 4, 3]})):
        path.write_text(text)
        with pytest.raises(DataError, match=r"tree\.json cannot be used"):
            load_hierarchy(path, ["a", "b", "c"])


# ---------------------------------------------------------------- what is missing or damaged


class Trap:
    def __reduce__(self) -> Any:
        return (os.mkdir, (os.environ["TRAP"],))


def test_the_python_version_is_not_unpickled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "cifar100" / "cifar-100-python"
    folder.mkdir(parents=True)
    monkeypatch.setenv("TRAP", str(tmp_path / "trapped"))
    for name in ("train", "test", "meta"):
        (folder / name).write_bytes(pickle.dumps(Trap()))
    monkeypatch.delenv("NCBENCH_DATA", raising=False)
    with pytest.raises(DataError) as caught:
        prepare(CARDS["cifar100"], {}, data_root=tmp_path)
    message = str(caught.value)
    assert "a pickle, which could run any code and is not read" in message
    assert "https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz" in message
    assert "ncbench data fetch cifar100" in message
    assert "\n" not in message
    assert not (tmp_path / "trapped").exists()


def test_a_missing_part_is_named(root: Path) -> None:
    (root / "cifar100" / "test-00000-of-00001.parquet").unlink()
    with pytest.raises(DataError, match=r"test-\*\.parquet is missing"):
        _dataset("cifar100", root).source_files()
    (root / "cifar100" / "train-00000-of-00001.parquet").unlink()
    with pytest.raises(DataError, match="holds neither train-"):
        _dataset("cifar100", root).source_files()
    (root / "cifar100" / "cifar-100-binary").mkdir()
    with pytest.raises(DataError, match=r"train\.bin, .*test\.bin are missing"):
        _dataset("cifar100", root).source_files()


def test_files_of_two_versions_are_not_mixed(root: Path) -> None:
    (root / "cifar100" / "train-00000-of-00002.parquet").write_bytes(b"")
    (root / "cifar100" / "train-00001-of-00002.parquet").write_bytes(b"")
    with pytest.raises(DataError, match="the train files of several versions"):
        _dataset("cifar100", root).source_files()


def test_the_real_counts_are_enforced(twins: Path) -> None:
    with pytest.raises(DataError, match="train: expected 50000 images, found 600"):
        prepare(CARDS["cifar100"], {}, data_root=twins)


@given(data=st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
def test_a_damaged_parquet_file_never_passes_with_another_number_of_rows(
    data: st.DataObject, twins: Path, tmp_path: Path
) -> None:
    path = tmp_path / "test-00000-of-00001.parquet"
    content = bytearray((twins / "cifar100" / path.name).read_bytes())
    if data.draw(st.booleans()):
        position = data.draw(st.integers(0, len(content) - 1))
        content[position] ^= data.draw(st.integers(1, 255))
    else:
        content = content[: data.draw(st.integers(0, len(content) - 1))]
    path.write_bytes(content)
    try:
        images, labels = read_pictures(path, "img", LABELS["cifar100"], CLASSES, (32, 32))
        rows, message = {len(images), *map(len, labels.values())}, str(path)
    except DataError as error:
        rows, message = {200}, str(error)
    assert rows == {200}
    assert str(path) in message
    assert "\n" not in message


def test_damaged_images_are_named_with_their_rows(tmp_path: Path) -> None:
    path = tmp_path / "train-00000-of-00001.parquet"
    good = np.zeros((32, 32, 3), dtype=np.uint8)
    images = [
        _encode(good, "PNG"),
        _encode(good, "PNG")[:-30],
        None,
        b"no image",
        _encode(good[:31], "PNG"),
        _encode(good[:, :, 0], "PNG"),
        _encode(good, "BMP"),
    ]
    _write(path, images, {name: np.zeros(7, dtype=np.int64) for name in LABELS["cifar100"]})
    with pytest.raises(DataError) as caught:
        read_pictures(path, "img", LABELS["cifar100"], CLASSES, (32, 32))
    message = str(caught.value)
    assert str(path) in message
    assert "6 images that cannot be decoded" in message
    for part in ("row 1 (", "row 2 (no bytes)", "row 3 (", "row 4 (32 x 31 pixels of mode RGB", "mode L", "row 6 ("):
        assert part in message
    assert "0x" not in message  # no addresses: the same damage gives the same message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"fine_label": [0, 1]}, "has no column 'coarse_label', but img; fine_label"),
        ({"fine_label": [0, None], "coarse_label": [4, 1]}, "1 rows without fine_label"),
        ({"fine_label": ["a", "b"], "coarse_label": [4, 1]}, "'fine_label' holds string, not integers"),
    ],
)
def test_columns_that_do_not_fit_are_named(columns: Mapping[str, Any], message: str, tmp_path: Path) -> None:
    image = _encode(np.zeros((32, 32, 3), dtype=np.uint8), "PNG")
    _write(tmp_path / "x.parquet", [image, image], columns)
    with pytest.raises(DataError, match=message):
        read_pictures(tmp_path / "x.parquet", "img", LABELS["cifar100"], CLASSES, (32, 32))


def test_images_that_are_no_bytes_are_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"img": [1], "fine_label": [1], "coarse_label": [1]}), tmp_path / "x.parquet")
    with pytest.raises(DataError, match=r"'img' holds int64, neither \{bytes, path\} nor bytes"):
        read_pictures(tmp_path / "x.parquet", "img", LABELS["cifar100"], CLASSES, (32, 32))


def test_a_file_that_names_other_classes_is_refused(twins: Path, tmp_path: Path) -> None:
    table = pq.read_table(twins / "cifar100" / "test-00000-of-00001.parquet")
    for names, message in (
        (["apples", *CLASSES[1:]], "names other classes: 'apples' in the place of 'apple'"),
        (CLASSES[:20], "names other classes: 20 instead of 100"),
    ):
        info = {"info": {"features": {"fine_label": {"names": list(names), "_type": "ClassLabel"}}}}
        path = tmp_path / "x.parquet"
        pq.write_table(table.replace_schema_metadata({"huggingface": json.dumps(info)}), path)
        with pytest.raises(DataError, match=message):
            read_pictures(path, "img", LABELS["cifar100"], CLASSES, (32, 32))


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("coarse_label", 7, r"1 coarse labels that are not their class's: row 5: \w+ in superclass 7"),
        ("fine_label", 100, r"train: 1 target labels outside 0\.\.99: train-00005 has 100"),
        ("fine_label", -1, r"train: 1 target labels outside 0\.\.99: train-00005 has -1"),
    ],
)
def test_wrong_labels_are_named(root: Path, column: str, value: int, message: str) -> None:
    path = root / "cifar100" / "train-00000-of-00001.parquet"
    images, labels = _rows(path, LABELS["cifar100"])
    if labels["coarse_label"][5] == value:
        value += 1
        message = message.replace("7", "8")
    labels[column][5] = value
    write_pictures(path, "img", images, labels)
    with pytest.raises(DataError, match=message):
        _open("cifar100", root)


@pytest.mark.parametrize("change", ["cut", "longer", "empty"])
def test_a_binary_file_of_another_length_is_named(root: Path, change: str) -> None:
    _as_binary("cifar100", root)
    path = root / "cifar100" / "cifar-100-binary" / "train.bin"
    content = path.read_bytes()
    path.write_bytes({"cut": content[:-1], "longer": content + b"x", "empty": b""}[change])
    with pytest.raises(DataError, match=r"train\.bin is truncated or damaged: \d+ bytes are no whole number"):
        _open("cifar100", root)


@given(images=st.integers(1, 4), labels=st.integers(1, 2), seed=st.integers(0, 9))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=20, deadline=None)
def test_binary_records_are_read_as_described(images: int, labels: int, seed: int, tmp_path: Path) -> None:
    record = 3072 + labels
    content = np.random.default_rng(seed).bytes(images * record)
    (tmp_path / "x.bin").write_bytes(content)
    names = ("coarse", "fine")[-labels:]
    pixels, values = read_binary(tmp_path / "x.bin", names)
    for index in range(images):
        one = content[index * record : (index + 1) * record]
        assert [values[name][index] for name in names] == list(one[:labels])
        for row, column, channel in ((0, 0, 0), (31, 31, 2), (5, 17, 1)):
            assert pixels[index, row, column, channel] == one[labels + channel * 1024 + row * 32 + column]


# ---------------------------------------------------------------- the real data


@pytest.mark.slow
@pytest.mark.real_data
def test_the_real_cifar100() -> None:
    folder = Path(os.environ["NCBENCH_DATA"]) / "cifar100"
    store = prepare(CARDS["cifar100"], {})
    assert json.loads((folder / "class_names.json").read_text())["fine_label"] == list(store.class_names)
    train, test = store.splits["train"], store.splits["test"]
    assert train.inputs.shape == (50_000, 32, 32, 3)
    assert test.inputs.shape == (10_000, 32, 32, 3)
    assert np.bincount(train.target).tolist() == [500] * 100
    assert np.bincount(test.target).tolist() == [100] * 100
    for split in (train, test):
        assert len(set(split.ids.tolist())) == len(split)
    table = pq.read_table(folder / "test-00000-of-00001.parquet", columns=["img", "fine_label"])
    for row in (0, 1, 4_999, 9_999):
        pixels = Image.open(io.BytesIO(table["img"][row].as_py()["bytes"])).convert("RGB")
        np.testing.assert_array_equal(test.inputs[row], np.asarray(pixels))
        assert test.target[row] == table["fine_label"][row].as_py()
    # The statistics that everybody scales CIFAR-100 with are those of these images.
    manifest = load_manifest(CARDS["cifar100"].manifest)
    sums, squares = np.zeros(3), np.zeros(3)
    for start in range(0, 50_000, 5_000):
        part = train.inputs[start : start + 5_000].reshape(-1, 3) / 255
        sums, squares = sums + part.sum(axis=0), squares + (part**2).sum(axis=0)
    mean = sums / (50_000 * 1024)
    np.testing.assert_allclose(manifest.channel_mean, mean, atol=5e-4)
    np.testing.assert_allclose(manifest.channel_std, np.sqrt(squares / (50_000 * 1024) - mean**2), atol=5e-4)
