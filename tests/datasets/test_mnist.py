from __future__ import annotations

import gzip
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ncbench import DataError
from ncbench.data.sources.manifest import load_manifest
from ncbench.data.store.open import open_store
from ncbench.data.store.prepare import prepare
from ncbench_datasets.layouts.idx import write_idx

from .conftest import CARDS

RAW = {"mnist": "mnist/MNIST/raw", "fashion_mnist": "fashion_mnist/FashionMNIST/raw"}


@pytest.fixture(params=list(RAW))
def twin(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Path]:
    """A name, and a data root with the twin of that name."""
    CARDS[request.param].load().synthesize(tmp_path / "twin")
    return request.param, tmp_path / "twin"


def _open(name: str, root: Path) -> Any:
    kind = CARDS[name].load()
    dataset = kind(kind.Parameters(), root)
    return open_store(dataset, dataset.params.spec(name), load_manifest(CARDS[name].manifest).for_twin())


def _bytes(path: Path, header: int) -> np.ndarray:
    """What follows the header of a file, read without the reader under test."""
    return np.frombuffer(gzip.decompress(path.read_bytes())[header:], dtype=np.uint8)


def test_the_files_are_read_as_they_are(twin: tuple[str, Path]) -> None:
    name, root = twin
    store = _open(name, root)
    for split, part in (("train", "train"), ("test", "t10k")):
        stored = store.splits[split]
        images = _bytes(root / RAW[name] / f"{part}-images-idx3-ubyte.gz", 16).reshape(-1, 28, 28, 1)
        np.testing.assert_array_equal(stored.inputs, images)
        np.testing.assert_array_equal(stored.target, _bytes(root / RAW[name] / f"{part}-labels-idx1-ubyte.gz", 8))
        assert stored.ids[2] == f"{split}-00002"
        assert stored.bias is None
        assert np.bincount(stored.target).min() == np.bincount(stored.target).max()
    assert len(store.class_names) == 10
    assert store.aligned_bias is None
    assert store.hierarchy is None


def test_mnist_and_colored_mnist_share_their_files(mnist_root: Path) -> None:
    grey, coloured = _open("mnist", mnist_root), _open("colored_mnist", mnist_root)
    for split in ("train", "test"):
        np.testing.assert_array_equal(grey.splits[split].target, coloured.splits[split].target)
        ink = grey.splits[split].inputs[..., 0] > 0
        assert not coloured.splits[split].inputs[~ink].any()


def test_twins_are_used_as_any_data(cache: Path) -> None:
    for name in RAW:
        store = prepare(CARDS[name], {"imbalance": "step", "ratio": 4}, synthetic=True)
        assert np.bincount(store.splits["train"].target).tolist() == [40] * 5 + [10] * 5
        assert len(store.splits["test"]) == 100


@pytest.mark.parametrize(
    ("file", "values", "message"),
    [
        ("t10k-images-idx3-ubyte.gz", np.zeros((100, 28, 27), dtype=np.uint8), "pixels instead of"),
        ("t10k-labels-idx1-ubyte.gz", np.zeros(99, dtype=np.uint8), "100 images.*99 labels"),
        ("t10k-labels-idx1-ubyte.gz", np.full(100, 11, dtype=np.uint8), r"label 11, which is none of 0\.\.9"),
    ],
)
def test_files_that_do_not_fit_together(twin: tuple[str, Path], file: str, values: np.ndarray, message: str) -> None:
    name, root = twin
    write_idx(root / RAW[name] / file, values)
    with pytest.raises(DataError, match=message):
        _open(name, root)


def test_damage_and_miscounts_are_named(twin: tuple[str, Path]) -> None:
    name, root = twin
    # MNIST's bytes are known, Fashion-MNIST's counts.
    known = "bytes of content instead of 47040016" if name == "mnist" else "train: expected 60000 images, found 400"
    with pytest.raises(DataError, match=known):
        prepare(CARDS[name], {}, data_root=root)
    victim = root / RAW[name] / "train-images-idx3-ubyte.gz"
    victim.write_bytes(victim.read_bytes()[:-40])
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte\.gz is truncated or damaged"):
        _open(name, root)
    victim.unlink()
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte\[\.gz\] is missing"):
        _open(name, root)


@pytest.mark.real_data
def test_the_real_mnist() -> None:
    store = prepare(CARDS["mnist"], {})
    raw = Path(os.environ["NCBENCH_DATA"]) / RAW["mnist"]
    for split, part in (("train", "train"), ("test", "t10k")):
        images = _bytes(raw / f"{part}-images-idx3-ubyte.gz", 16).reshape(-1, 28, 28, 1)
        np.testing.assert_array_equal(store.splits[split].inputs, images)
    train = store.splits["train"]
    assert np.bincount(train.target).tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    manifest = load_manifest(CARDS["mnist"].manifest)
    np.testing.assert_allclose(manifest.channel_mean, train.inputs.mean() / 255, atol=1e-4)
    np.testing.assert_allclose(manifest.channel_std, train.inputs.std() / 255, atol=1e-4)


@pytest.mark.real_data
def test_the_real_mnist_balanced_and_under_a_step() -> None:
    balanced = prepare(CARDS["mnist"], {"per_class": 5000})
    assert np.bincount(balanced.splits["train"].target).tolist() == [5000] * 10
    step = prepare(CARDS["mnist"], {"imbalance": "step", "ratio": 10, "per_class": 5000})
    assert np.bincount(step.splits["train"].target).tolist() == [5000] * 5 + [500] * 5
    assert set(step.splits["train"].ids.tolist()) < set(balanced.splits["train"].ids.tolist())
    assert len(step.splits["test"]) == 10_000
