from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ncbench import DataError
from ncbench.data.sources.manifest import load_manifest
from ncbench.data.store.open import open_store
from ncbench.data.store.prepare import prepare
from ncbench_datasets.stl10 import read_images

from .conftest import CARDS

CARD = CARDS["stl10"]
KIND: Any = CARD.load()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A data root with a twin that a test may damage."""
    root = tmp_path / "twin"
    KIND.synthesize(root)
    return root


def _open(root: Path) -> Any:
    dataset = KIND(KIND.Parameters(), root)
    return open_store(dataset, dataset.params.spec("stl10"), load_manifest(CARD.manifest).for_twin())


def test_the_binary_version_is_read_as_it_is(root: Path) -> None:
    from torchvision.datasets import STL10

    class Unchecked(STL10):
        def _check_integrity(self) -> bool:
            return True

    store = _open(root)
    for split, stored in store.splits.items():
        expected = Unchecked(root / "stl10", split=split)
        np.testing.assert_array_equal(stored.inputs, expected.data.transpose(0, 2, 3, 1))
        np.testing.assert_array_equal(stored.target, expected.labels)
        assert list(store.class_names) == expected.classes
        assert np.bincount(stored.target).min() == np.bincount(stored.target).max() > 0
        assert stored.ids[3] == f"{split}-00003"
        assert stored.bias is None


@given(pixel=st.tuples(st.integers(0, 1), st.integers(0, 95), st.integers(0, 95), st.integers(0, 2)))
def test_values_lie_column_by_column(
    pixel: tuple[int, int, int, int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    image, row, column, channel = pixel
    content = bytearray(2 * 27_648)
    content[image * 27_648 + channel * 9_216 + column * 96 + row] = 200
    path = tmp_path_factory.getbasetemp() / "one_X.bin"
    path.write_bytes(content)
    assert np.argwhere(read_images(path)).tolist() == [list(pixel)]


def test_every_missing_file_is_named(root: Path) -> None:
    folder = root / "stl10" / "stl10_binary"
    (folder / "test_y.bin").unlink()
    (folder / "class_names.txt").unlink()
    with pytest.raises(DataError, match=r"test_y\.bin, .*class_names\.txt are missing"):
        KIND(KIND.Parameters(), root).source_files()


def test_the_real_counts_are_enforced(root: Path) -> None:
    with pytest.raises(DataError, match="train: expected 5000 images, found 120"):
        prepare(CARD, {}, data_root=root)


def _cut(content: bytes) -> bytes:
    return content[:-1]


@pytest.mark.parametrize(
    ("file", "damage", "message"),
    [
        ("train_X.bin", _cut, r"train_X\.bin is truncated or damaged: 3317759 bytes"),
        ("test_X.bin", lambda content: b"", r"test_X\.bin is truncated or damaged: 0 bytes"),
        ("train_y.bin", _cut, "holds 120 train images and 119 labels"),
        ("train_y.bin", lambda content: b"\x00\x0b" + content[2:], "2 labels outside 1..10: row 0 has 0; row 1 has 11"),
        ("train_y.bin", lambda content: content.replace(b"\x03", b"\x04"), "no images of class car"),
        ("class_names.txt", lambda content: b"apple\nbird\n", "names other classes: apple bird"),
    ],
)
def test_damage_is_named(root: Path, file: str, damage: Any, message: str) -> None:
    path = root / "stl10" / "stl10_binary" / file
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError, match=message):
        _open(root)
