from __future__ import annotations

import gzip
import hashlib
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from ncbench import ConfigurationError, DataError
from ncbench.contracts.specs import Spec
from ncbench.data.sources.manifest import load_manifest
from ncbench.data.store.open import open_store
from ncbench.data.store.prepare import locate, prepare, write_twin
from ncbench.data.store.verify import verify
from ncbench_datasets.layouts.idx import read_idx, write_idx

from .conftest import CARDS

RAW = Path("mnist/MNIST/raw")


def _manifest_of(root: Path) -> object:
    """Return colored_mnist's manifest with the checksums of the files below `root`."""
    files = []
    for path in sorted((root / RAW).iterdir()):
        content = gzip.decompress(path.read_bytes())
        name = f"MNIST/raw/{path.stem}"
        files.append({"path": name, "sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)})
    manifest = load_manifest(CARDS["colored_mnist"].manifest)
    return type(manifest).model_validate(manifest.model_dump() | {"files": files, "counts": {}})


def test_missing_data_says_where_it_was_looked_for_and_how_to_get_it(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NCBENCH_DATA", str(tmp_path / "shared"))
    with pytest.raises(DataError) as caught:
        prepare(CARDS["colored_mnist"], {}, data_root=tmp_path / "mine")
    message = str(caught.value)
    for place in (tmp_path / "mine", tmp_path / "shared", cache / "data"):
        assert str(place / "mnist") in message
    assert "ncbench data fetch colored_mnist" in message
    assert "\n" not in message


@pytest.mark.usefixtures("no_data")
def test_data_that_are_fetched_by_hand_come_with_instructions() -> None:
    with pytest.raises(DataError, match=r"To get it: download the release from https://github.com/alinlab/BAR"):
        prepare(CARDS["bar"], {})


def test_the_users_root_comes_first_then_the_environment(
    mnist_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    card, manifest = CARDS["colored_mnist"], load_manifest(CARDS["colored_mnist"].manifest)
    other = tmp_path / "other"
    shutil.copytree(mnist_root, other)
    monkeypatch.setenv("NCBENCH_DATA", str(mnist_root))
    assert locate(card, {}, manifest).root == mnist_root
    assert locate(card, {}, manifest, data_root=other).root == other
    # A root that holds a part of the files does not hide one that holds all.
    next((other / RAW).glob("t10k*")).unlink()
    assert locate(card, {}, manifest, data_root=other).root == mnist_root


@pytest.mark.usefixtures("no_data")
def test_a_missing_file_is_named_with_the_way_to_get_it(mnist_root: Path) -> None:
    (mnist_root / RAW / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(DataError, match=r"t10k-labels-idx1-ubyte\[\.gz\] is missing.*ncbench data fetch"):
        prepare(CARDS["colored_mnist"], {}, data_root=mnist_root)


@pytest.mark.parametrize("name", ["colored_mnist", "bar"])
def test_the_twin_has_the_real_layout_and_can_be_used(name: str) -> None:
    store = prepare(CARDS[name], {}, synthetic=True)
    again = prepare(CARDS[name], {}, synthetic=True)
    assert store.fingerprint == again.fingerprint
    for split in store.splits.values():
        assert set(split.target.tolist()) == set(range(len(store.class_names)))


def test_the_twins_generator_is_deterministic(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        write_twin(CARDS["bar"].load(), tmp_path / name)
    first = sorted(path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*.jpg"))
    assert len(first) == 246
    assert all((tmp_path / "a" / path).read_bytes() == (tmp_path / "b" / path).read_bytes() for path in first)


def test_what_a_killed_process_left_of_a_twin_is_cleared(cache: Path) -> None:
    prepare(CARDS["bar"], {"size": 16}, synthetic=True)
    (root,) = (path for path in (cache / "synthetic").iterdir() if path.is_dir())
    (root / "bar").rename(root / ".twin-killed")
    prepare(CARDS["bar"], {"size": 16}, synthetic=True)
    assert [path.name for path in root.iterdir()] == ["bar"]


def test_an_embedded_dataset_has_no_twin() -> None:
    with pytest.raises(ConfigurationError, match="embedded"):
        prepare(CARDS["colored_digits"], {}, synthetic=True)


def test_a_twin_is_not_written_over_a_dataset(bar_root: Path) -> None:
    with pytest.raises(ConfigurationError, match="exists already"):
        write_twin(CARDS["bar"].load(), bar_root)


def test_a_twin_is_not_taken_for_the_real_data(mnist_root: Path) -> None:
    with pytest.raises(DataError, match=r"'colored_mnist' in .*mnist is not what its .* content instead of 47040016"):
        prepare(CARDS["colored_mnist"], {}, data_root=mnist_root)


@pytest.mark.parametrize("damage", ["cut", "flip", "swap", "empty", "plain cut"])
def test_a_damaged_source_file_is_named(mnist_root: Path, damage: str) -> None:
    manifest = _manifest_of(mnist_root)
    victim = mnist_root / RAW / "train-images-idx3-ubyte.gz"
    content = victim.read_bytes()
    if damage == "cut":
        victim.write_bytes(content[: len(content) // 2])
    elif damage == "flip":
        victim.write_bytes(content[:600] + bytes([content[600] ^ 255]) + content[601:])
    elif damage == "swap":
        shutil.copy(mnist_root / RAW / "t10k-images-idx3-ubyte.gz", victim)
    elif damage == "empty":
        victim.write_bytes(b"")
    else:
        victim.unlink()
        victim = victim.with_suffix("")
        victim.write_bytes(gzip.decompress(content)[:-1])
    dataset = CARDS["colored_mnist"].load()(CARDS["colored_mnist"].load().Parameters(), mnist_root)
    with pytest.raises(DataError, match=victim.name) as caught:
        open_store(dataset, dataset.params.spec("colored_mnist"), manifest)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    problems = verify(dataset, dataset.params.spec("colored_mnist"), manifest)  # type: ignore[arg-type]
    assert any(victim.name in problem for problem in problems)


@given(shape=st.lists(st.integers(0, 5), min_size=1, max_size=3), compressed=st.booleans())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30, deadline=None)
def test_idx_files_are_read_as_written(shape: list[int], compressed: bool, tmp_path: Path) -> None:
    path = tmp_path / ("values.gz" if compressed else "values")
    values = np.arange(int(np.prod(shape)), dtype=np.uint8).reshape(shape)
    write_idx(path, values)
    np.testing.assert_array_equal(read_idx(path, len(shape)), values)


@given(data=st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200, deadline=None)
def test_damaged_idx_files_never_pass_in_another_shape(data: st.DataObject, tmp_path: Path) -> None:
    path = tmp_path / data.draw(st.sampled_from(["values", "values.gz"]))
    write_idx(path, np.arange(60, dtype=np.uint8).reshape(3, 4, 5))
    content = bytearray(path.read_bytes())
    position = data.draw(st.integers(0, len(content) - 1))
    if data.draw(st.booleans()):
        content[position] ^= data.draw(st.integers(1, 255))
    else:
        content = content[:position]
    path.write_bytes(content)
    try:
        size, message = read_idx(path, 3).size, ""
    except DataError as error:
        size, message = 60, str(error)
    assert size == 60
    assert not message or str(path) in message


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("train-images-idx3-ubyte.gz", np.zeros((400, 27, 28), dtype=np.uint8), "pixels instead of"),
        ("train-labels-idx1-ubyte.gz", np.zeros(399, dtype=np.uint8), "400 images.*399 labels"),
        ("train-labels-idx1-ubyte.gz", np.full(400, 10, dtype=np.uint8), r"label 10, which is none of 0\.\.9"),
        ("train-labels-idx1-ubyte.gz", np.zeros(400, dtype=np.uint8), "no images of classes 1; 2"),
        ("train-labels-idx1-ubyte.gz", np.zeros((400, 1), dtype=np.uint8), "1 dimensions"),
    ],
)
def test_idx_files_that_do_not_fit_together(mnist_root: Path, name: str, values: np.ndarray, message: str) -> None:
    write_idx(mnist_root / RAW / name, values)
    dataset = CARDS["colored_mnist"].load()(CARDS["colored_mnist"].load().Parameters(), mnist_root)
    manifest = load_manifest(CARDS["colored_mnist"].manifest).for_twin()
    with pytest.raises(DataError, match=message):
        open_store(dataset, dataset.params.spec("colored_mnist"), manifest)


def _prepare_bar(root: Path) -> None:
    kind = CARDS["bar"].load()
    dataset = kind(kind.Parameters(size=32), root)
    open_store(dataset, dataset.params.spec("bar"), load_manifest(CARDS["bar"].manifest).for_twin())


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("swimming_1.jpg", r"1 files are not named .*swimming_1\.jpg"),
        ("pole_vaulting_1.jpg", "pole_vaulting_1"),
        ("racing_one.jpg", "racing_one"),
        ("notes.txt", "notes.txt"),
        ("racing_1.jpeg", "duplicate ids: train/racing_1"),
    ],
)
def test_strange_files_in_bar_are_named(bar_root: Path, name: str, message: str) -> None:
    shutil.copy(bar_root / "bar" / "train" / "racing_1.jpg", bar_root / "bar" / "train" / name)
    with pytest.raises(DataError, match=message):
        _prepare_bar(bar_root)


def test_hidden_files_in_bar_are_left_alone(bar_root: Path) -> None:
    for name in (".DS_Store", "Thumbs.db", "desktop.ini", "@eaDir/climbing_1.jpg", "__MACOSX/._climbing_1.jpg"):
        path = bar_root / "bar" / "train" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("")
    _prepare_bar(bar_root)


def test_bar_without_a_class(bar_root: Path) -> None:
    for path in (bar_root / "bar" / "train").glob("pole vaulting_*"):
        path.unlink()
    with pytest.raises(DataError, match="no images of class pole vaulting"):
        _prepare_bar(bar_root)


def test_bar_counts_are_enforced_on_the_real_data_only(bar_root: Path) -> None:
    with pytest.raises(DataError, match="train: expected 1941 images, found 72"):
        prepare(CARDS["bar"], {"size": 32}, data_root=bar_root)


def test_bar_is_in_the_order_of_its_numbers(bar_root: Path) -> None:
    kind = CARDS["bar"].load()
    ids = kind(kind.Parameters(), bar_root).read()["train"].ids
    assert list(ids[:12]) == [f"train/climbing_{number}" for number in range(1, 13)]


def test_verify_names_every_problem(bar_root: Path) -> None:
    kind = CARDS["bar"].load()
    dataset = kind(kind.Parameters(size=32), bar_root)
    spec, manifest = dataset.params.spec("bar"), load_manifest(CARDS["bar"].manifest)
    assert verify(dataset, spec, manifest.for_twin()) == []
    store = open_store(dataset, spec, manifest.for_twin())
    assert verify(dataset, spec, manifest.for_twin()) == []
    # Damage that the sizes don't show, in the store ...
    images = store.folder / "test.inputs.npy"
    content = bytearray(images.read_bytes())
    content[-1] ^= 1
    images.write_bytes(content)
    assert verify(dataset, spec, manifest.for_twin()) == [
        f"{images} or its labels changed since the store was built: delete {store.folder}, the next run builds it anew",
    ]
    # ... in the sources, so that they decode to something else, or have another label ...
    images.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    train = bar_root / "bar" / "train"
    assert verify(dataset, spec, manifest.for_twin()) == []
    _swap(train / "diving_1.jpg", train / "diving_3.jpg")
    assert verify(dataset, spec, manifest.for_twin()) == [
        "train: 2 images changed since the store was built: train/diving_1; train/diving_3"
    ]
    _swap(train / "diving_1.jpg", train / "diving_3.jpg")
    assert verify(dataset, spec, manifest.for_twin()) == []
    (train / "diving_1.jpg").rename(train / "racing_99.jpg")
    assert verify(dataset, spec, manifest.for_twin()) == [
        "train: 1 images are new since the store was built: train/racing_99",
        "train: 1 images are gone since the store was built: train/diving_1",
    ]
    (train / "racing_99.jpg").rename(train / "diving_1.jpg")
    # ... and so that they cannot be decoded.
    for name in ("racing_1", "diving_2"):
        path = bar_root / "bar" / "train" / f"{name}.jpg"
        path.write_bytes(path.read_bytes()[:-200])
    problems = verify(dataset, spec, manifest)
    assert sum("truncated" in problem for problem in problems) == 2
    assert any("expected 1941 images, found 72" in problem for problem in problems)
    assert any("expected 654 images, found 36" in problem for problem in problems)


def _swap(one: Path, other: Path) -> None:
    first = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(first)


def test_verify_compares_what_lies_in_one_file_image_by_image(mnist_root: Path) -> None:
    kind = CARDS["mnist"].load()
    dataset = kind(kind.Parameters(), mnist_root)
    spec, manifest = Spec("mnist", {"per_class": 20}), load_manifest(CARDS["mnist"].manifest).for_twin()
    store = open_store(dataset, spec, manifest)
    assert verify(dataset, spec, manifest) == []
    images = read_idx(mnist_root / RAW / "train-images-idx3-ubyte.gz", 3).copy()
    labels = read_idx(mnist_root / RAW / "t10k-labels-idx1-ubyte.gz", 1).copy()
    kept = int(store.splits["train"].ids[5].removeprefix("train-"))
    images[kept, 0, 0] += 1
    labels[7] = (labels[7] + 1) % 10
    write_idx(mnist_root / RAW / "train-images-idx3-ubyte.gz", images)
    write_idx(mnist_root / RAW / "t10k-labels-idx1-ubyte.gz", labels)
    assert verify(dataset, spec, manifest) == [
        f"train: 1 images changed since the store was built: train-{kept:05d}",
        "test: the labels of 1 images changed since the store was built: test-00007",
    ]


@pytest.mark.real_data
def test_the_real_bar_is_decoded_whole() -> None:
    store = prepare(CARDS["bar"], {"size": 32})
    assert [len(split) for split in store.splits.values()] == [1941, 654]
    assert all(split.bias is None for split in store.splits.values())
    assert store.aligned_bias is None
    train = store.splits["train"]
    assert np.bincount(train.target).tolist() == [326, 520, 163, 279, 336, 317]
    assert train.inputs.reshape(len(train), -1).std(axis=1).min() > 0  # no image was left blank


def test_the_twin_of_bar_is_biased(bar_root: Path) -> None:
    def mean_colours(split: str, name: str) -> np.ndarray:
        paths = (bar_root / "bar" / split).glob(f"{name}_*.jpg")
        return np.stack([np.asarray(Image.open(path)).mean(axis=(0, 1)) for path in paths])

    train, test = mean_colours("train", "diving"), mean_colours("test", "diving")
    assert train.std(axis=0).max() < 6
    assert test.std(axis=0).max() > 20
