from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.io import loadmat, savemat

from ncbench import DataError
from ncbench.data.sources.manifest import load_manifest
from ncbench.data.store.open import open_store
from ncbench.data.store.prepare import prepare
from ncbench_datasets.layouts.hub_files import write_pictures
from ncbench_datasets.svhn import read_mat

from .conftest import CARDS

CARD = CARDS["svhn"]
KIND: Any = CARD.load()


def _open(root: Path) -> Any:
    dataset = KIND(KIND.Parameters(), root)
    return open_store(dataset, dataset.params.spec("svhn"), load_manifest(CARD.manifest).for_twin())


def _save(path: Path, **arrays: Any) -> Path:
    savemat(path, arrays, do_compression=True)
    return path


def _content(number: int = 4) -> dict[str, np.ndarray]:
    images = np.random.default_rng(0).integers(0, 256, (32, 32, 3, number), dtype=np.uint8)
    return {"X": images, "y": np.arange(1, number + 1, dtype=np.uint8)[:, None]}


def test_the_matlab_files_are_read_as_they_are(twin: Path) -> None:
    store = _open(twin)
    for split, stored in store.splits.items():
        content = loadmat(twin / "svhn" / f"{split}_32x32.mat")
        np.testing.assert_array_equal(stored.inputs, content["X"].transpose(3, 0, 1, 2))
        digits = [0 if label == 10 else label for label in content["y"][:, 0]]
        np.testing.assert_array_equal(stored.target, digits)
        assert set(content["y"][:, 0].tolist()) == set(range(1, 11))
        assert stored.ids[3] == f"{split}-00003"
        assert stored.bias is None
    assert store.class_names == tuple("0123456789")


@pytest.mark.parametrize("folder", ["svhn", "svhn/cropped_digits"])
def test_the_hubs_files_give_the_same(twin: Path, tmp_path: Path, folder: str) -> None:
    (tmp_path / folder).mkdir(parents=True)
    for split in ("train", "test"):
        images, digits = read_mat(twin / "svhn" / f"{split}_32x32.mat")
        write_pictures(tmp_path / folder / f"{split}-00000-of-00001.parquet", "image", images, {"label": digits})
    assert _open(tmp_path).fingerprint == _open(twin).fingerprint


def test_what_is_missing_is_named(root: Path) -> None:
    dataset = KIND(KIND.Parameters(), root)
    (root / "svhn" / "test_32x32.mat").unlink()
    with pytest.raises(DataError, match=r"test_32x32\.mat is missing"):
        dataset.source_files()
    (root / "svhn" / "train_32x32.mat").unlink()
    with pytest.raises(DataError, match=r"holds neither train_32x32\.mat and test_32x32\.mat nor train-\*\.parquet"):
        dataset.source_files()


def test_the_real_counts_are_enforced(root: Path) -> None:
    with pytest.raises(DataError, match="train: expected 73257 images, found 400"):
        prepare(CARD, {}, data_root=root)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"y": None}, "holds no numeric array y, but X"),
        ({"X": "text", "y": 3j}, "holds no numeric arrays X and y, but none"),
        ({"X": np.zeros((32, 32, 3, 4))}, r"X is float64 \(32, 32, 3, 4\), not uint8 \(32, 32, 3, N\)"),
        ({"X": np.zeros((32, 30, 3, 4), dtype=np.uint8)}, r"X is uint8 \(32, 30, 3, 4\)"),
        ({"y": np.ones((3, 1))}, r"y has the shape \(3, 1\), not \(4, 1\)"),
        ({"y": [[0], [11], [10], [1.5]]}, r"3 labels outside 1\.\.10: row 0 has 0.*; row 1 has 11.*; row 3 has 1\.5"),
    ],
)
def test_variables_that_do_not_fit_are_named(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    content = {name: values for name, values in {**_content(), **changes}.items() if values is not None}
    with pytest.raises(DataError, match=message):
        read_mat(_save(tmp_path / "train_32x32.mat", **content))


def test_a_label_that_is_no_digits_is_named_from_a_parquet_file(tmp_path: Path) -> None:
    (tmp_path / "svhn").mkdir()
    images = _content(20)["X"].transpose(3, 0, 1, 2)
    for split in ("train", "test"):
        labels = {"label": np.arange(20) % 10 + 10 * (np.arange(20) == 7)}
        write_pictures(tmp_path / "svhn" / f"{split}-00000-of-00001.parquet", "image", images, labels)
    with pytest.raises(DataError, match=r"1 target labels outside 0\.\.9: train-00007 has 17"):
        _open(tmp_path)


def test_a_digit_without_images_is_named(root: Path) -> None:
    path = root / "svhn" / "train_32x32.mat"
    content = loadmat(path)
    kept = np.flatnonzero(~np.isin(content["y"][:, 0], (10, 4)))
    _save(path, X=content["X"][..., kept], y=content["y"][kept])
    with pytest.raises(DataError, match="no images of classes 0; 4"):
        _open(root)


def test_other_formats_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "train_32x32.mat"
    for content in (b"", b"MATLAB 5.0", b"\x89HDF\r\n\x1a\n" + bytes(600), bytes(124) + b"\x00\x02IM"):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"train_32x32\.mat is no MATLAB file of version 5"):
            read_mat(path)


def _compressed() -> bytes:
    buffer = io.BytesIO()
    savemat(buffer, _content(), do_compression=True)
    return buffer.getvalue()


COMPRESSED = _compressed()


def test_variables_that_are_not_compressed_are_refused_unread(tmp_path: Path) -> None:
    savemat(tmp_path / "train_32x32.mat", _content(), do_compression=False)
    with pytest.raises(DataError, match="whose variables are compressed"):
        read_mat(tmp_path / "train_32x32.mat")


@given(data=st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150, deadline=None)
def test_a_damaged_file_ends_with_an_error_or_with_images_and_digits(data: st.DataObject, tmp_path: Path) -> None:
    content = bytearray(COMPRESSED)
    for position in data.draw(st.lists(st.integers(0, len(content) - 1), max_size=3)):
        content[position] ^= data.draw(st.integers(1, 255))
    path = tmp_path / "file.mat"
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    try:
        (images, digits), message = read_mat(path), str(path)
    except DataError as error:
        images, digits, message = np.zeros(0, dtype=np.uint8), np.zeros(0), str(error)
    assert images.dtype == np.uint8
    assert len(images) == len(digits)
    assert str(path) in message
    assert "\n" not in message
