from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ncbench import DataError, Parameters, PluginError, Split
from ncbench.contracts.specs import Spec
from ncbench.data.store import decode as decode_module
from ncbench.data.store import open as store_module
from ncbench.data.store import write
from ncbench.data.store.decode import Framing, decode
from ncbench.data.store.open import Store, open_store
from ncbench.data.store.verify import verify
from tests import served

from .conftest import TOY, InMemory, Toy, in_memory, make_manifest, make_split


def vectors(values: Any, target: Sequence[int] = (0, 1)) -> Split:
    return make_split(target, inputs=np.asarray(values, dtype=np.float32))


def open_toy(root: Path, **manifest: Any) -> Store:
    return open_store(Toy(Parameters(), root), TOY, make_manifest(**manifest))


def test_a_store_holds_what_the_dataset_read(toy_root: Path) -> None:
    store = open_toy(toy_root)
    assert list(store.splits) == ["train", "test"]
    train = store.splits["train"]
    assert train.inputs.shape == (6, 6, 8, 3)
    assert isinstance(train.inputs, np.memmap)
    assert train.target.tolist() == [0, 0, 0, 1, 1, 1]
    assert train.target.dtype == np.int64
    assert train.bias is not None
    assert train.ids[3] == "train/dog_0"
    for position, identifier in enumerate(train.ids):
        expected = decode(toy_root / "toy" / f"{identifier}.png", Framing((6, 8)))
        np.testing.assert_array_equal(train.inputs[position], expected)
    assert store.class_names == ("cat", "dog")
    assert store.aligned_bias == (0, 1)


def test_a_store_is_framed_as_the_dataset_says(toy_root: Path) -> None:
    class Framed(Toy):
        shorter_side = 9
        cut_bottom = 2

    plain = open_toy(toy_root)
    framed = open_store(Framed(Parameters(), toy_root), TOY, make_manifest())
    assert framed.fingerprint != plain.fingerprint
    for position, identifier in enumerate(framed.splits["train"].ids):
        expected = decode(toy_root / "toy" / f"{identifier}.png", Framing((6, 8), shorter_side=9, cut_bottom=2))
        np.testing.assert_array_equal(framed.splits["train"].inputs[position], expected)
    assert open_toy(toy_root).fingerprint == plain.fingerprint


def test_a_store_holds_vectors_as_they_are() -> None:
    generator = np.random.default_rng(0)
    values = {
        name: generator.normal(size=(number, 5)).astype(np.float32) for name, number in (("train", 7), ("test", 4))
    }
    targets = {"train": [0, 1, 0, 1, 0, 1, 0], "test": [0, 1, 1, 0]}
    dataset = in_memory(**{name: vectors(values[name], targets[name]) for name in values})
    dataset.image_size = None
    manifest = make_manifest(counts={"train": {"images": 7, "classes": [4, 3]}})
    store = open_store(dataset, TOY, manifest)
    for name, split in store.splits.items():
        assert isinstance(split.inputs, np.memmap)
        assert split.inputs.dtype == np.float32
        np.testing.assert_array_equal(split.inputs, values[name])
        assert split.target.tolist() == targets[name]
        assert split.input_shape == (5,)
        assert (store.folder / f"{name}.inputs.npy").is_file()
    assert verify(dataset, TOY, manifest) == []
    # The bits count: the smallest change of a value is another dataset.
    values["train"][3, 2] = np.nextafter(values["train"][3, 2], np.float32(9))
    (problem,) = verify(dataset, TOY, manifest)
    assert problem == "train: 1 images changed since the store was built: i3"
    other = open_store(dataset, Spec("toy", {"n": 1}), manifest)
    assert other.fingerprint != store.fingerprint
    kept = open_store(dataset, Spec("toy", {"per_class": 2}), manifest).splits["train"]
    rows = [int(identifier[1:]) for identifier in kept.ids]
    np.testing.assert_array_equal(kept.inputs, values["train"][rows])
    assert kept.target.tolist().count(0) == kept.target.tolist().count(1) == 2


def test_a_split_is_understood_by_the_older_name_of_its_inputs() -> None:
    images = np.zeros((2, 2, 2, 3), dtype=np.uint8)
    split = Split(images=images, target=np.array([0, 1]), bias=None, ids=["a", "b"])
    assert split.inputs is split.images is images


def test_a_store_is_read_only(toy_root: Path) -> None:
    train = open_toy(toy_root).splits["train"]
    for array in (train.inputs, train.target):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0


def test_a_store_is_built_once(toy_root: Path) -> None:
    first = open_toy(toy_root)
    built = (first.folder / "meta.json").stat().st_mtime_ns
    second = open_toy(toy_root)
    assert (second.folder / "meta.json").stat().st_mtime_ns == built
    assert second.fingerprint == first.fingerprint


def test_a_changed_source_means_another_store_content(toy_root: Path) -> None:
    first = open_toy(toy_root)
    Image.new("RGB", (8, 6), (1, 2, 3)).save(toy_root / "toy" / "train" / "cat_0.png")
    lines: list[str] = []
    second = open_store(Toy(Parameters(), toy_root), TOY, make_manifest(), lines.append)
    assert second.fingerprint != first.fingerprint
    assert second.splits["train"].inputs[0, 0, 0].tolist() == [1, 2, 3]
    assert any(line.startswith(f"Its fingerprint was {first.fingerprint[:12]}") for line in lines)
    # What was open before still reads the pixels it was opened with.
    assert first.splits["train"].inputs[0, 0, 0].tolist() != [1, 2, 3]


def test_a_touched_source_gives_the_same_fingerprint(toy_root: Path) -> None:
    first = open_toy(toy_root)
    os.utime(toy_root / "toy" / "train" / "cat_0.png", (1, 1))
    assert open_toy(toy_root).fingerprint == first.fingerprint


def test_a_store_of_an_older_format_is_rebuilt(toy_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "FORMAT", 0)
    old = open_toy(toy_root)
    monkeypatch.undo()
    monkeypatch.setenv("NCBENCH_CACHE", str(old.folder.parents[2]))
    new = open_toy(toy_root)
    assert new.folder == old.folder
    assert json.loads((new.folder / "meta.json").read_text())["format"] == store_module.FORMAT


@pytest.mark.parametrize(
    "damage",
    [
        "meta",
        "cut images",
        "cut labels",
        "flipped pixel",
        "rotten pixel",
        "flipped label",
        "other ids",
        "gone",
        "other shape",
        "pickle",
    ],
)
def test_a_damaged_store_is_rebuilt(toy_root: Path, damage: str) -> None:
    first = open_toy(toy_root)
    whole = first.splits["train"].inputs.copy()
    if damage == "meta":
        (first.folder / "meta.json").write_text("{")
    elif damage == "cut images":
        images = first.folder / "train.inputs.npy"
        images.write_bytes(images.read_bytes()[:-10])
    elif damage == "flipped pixel":  # its size is what it was
        np.lib.format.open_memmap(first.folder / "train.inputs.npy", mode="r+")[0, 0, 0] += 1
    elif damage == "rotten pixel":  # so is its modification time
        images = first.folder / "train.inputs.npy"
        before = images.stat()
        np.lib.format.open_memmap(images, mode="r+")[0, 0, 0] += 1
        os.utime(images, ns=(before.st_atime_ns, before.st_mtime_ns))
    elif damage == "other ids":
        ids = np.load(first.folder / "train.ids.npy")
        np.save(first.folder / "train.ids.npy", ids[::-1])
    elif damage == "cut labels":
        (first.folder / "test.target.npy").write_bytes(b"\x93NUMPY")
    elif damage == "flipped label":
        labels = first.folder / "train.target.npy"
        content = labels.read_bytes()
        labels.write_bytes(content[:-8] + bytes([content[-8] ^ 1]) + content[-7:])
    elif damage == "gone":
        (first.folder / "train.ids.npy").unlink()
    elif damage == "pickle":
        np.save(first.folder / "train.target.npy", np.array([{}] * 6, dtype=object), allow_pickle=True)
    else:
        np.save(first.folder / "train.inputs.npy", np.zeros((6, 6, 7, 3), dtype=np.uint8))
    second = open_toy(toy_root)
    assert second.fingerprint == first.fingerprint
    np.testing.assert_array_equal(second.splits["train"].inputs, whole)
    assert second.splits["train"].ids[3] == "train/dog_0"


def test_a_store_follows_the_declared_version_and_not_the_code(toy_root: Path) -> None:
    class Commented(Toy):
        def source_files(self) -> Sequence[Path]:
            return list(super().source_files())  # another class, of other code

    built = (open_toy(toy_root).folder / "meta.json").stat().st_mtime_ns
    again = open_store(Commented(Parameters(), toy_root), TOY, make_manifest())
    assert (again.folder / "meta.json").stat().st_mtime_ns == built
    newer = open_toy(toy_root, version="2")
    assert newer.folder == again.folder
    assert (newer.folder / "meta.json").stat().st_mtime_ns != built
    assert newer.fingerprint == again.fingerprint


def test_parameters_and_roots_have_stores_of_their_own(toy_root: Path, tmp_path: Path) -> None:
    other_root = tmp_path / "other"
    shutil.copytree(toy_root, other_root)
    first = open_toy(toy_root)
    second = open_store(Toy(Parameters(), toy_root), Spec("toy", {"size": 3}), make_manifest())
    third = open_toy(other_root)
    assert len({first.folder, second.folder, third.folder}) == 3
    assert first.fingerprint == third.fingerprint


def test_labels_are_part_of_the_fingerprint() -> None:
    def fingerprint(**changes: Any) -> str:
        splits = {"train": make_split(**changes), "test": make_split()}
        return open_store(in_memory(**splits), Spec("toy", {"n": repr(changes)}), make_manifest()).fingerprint

    plain = fingerprint()
    assert fingerprint(ids=["x", "y"]) == plain
    assert fingerprint(bias=np.array([0, 1])) != plain
    assert fingerprint(bias=None) != plain
    assert fingerprint(target=(1, 0)) != plain


def test_counts_that_differ_are_named_with_what_was_expected(toy_root: Path) -> None:
    counts = {"train": {"images": 7, "classes": [3, 4], "groups": [[3, 0], [1, 3]]}, "test": {"images": 6}}
    with pytest.raises(DataError) as caught:
        open_toy(toy_root, counts=counts)
    message = str(caught.value)
    assert "train: expected 7 images, found 6" in message
    assert "images a class (3, 4), found (3, 3)" in message
    assert "((3, 0), (1, 3)), found ((3, 0), (0, 3))" in message
    assert "test:" not in message
    assert "--allow-mismatch" in message
    assert not list((Path(os.environ["NCBENCH_CACHE"])).rglob("meta.json"))


def test_of_a_large_table_the_counts_that_differ_are_named() -> None:
    class Many(InMemory):
        class_names = tuple(map(str, range(30)))

    dataset = Many(Parameters(), None)
    dataset.splits = {"train": make_split(range(30)), "test": make_split(range(30))}
    counts = {"train": {"images": 30, "classes": [1] * 28 + [2, 0]}}
    with pytest.raises(
        DataError, match="train: expected other numbers of images a class: 28: 2, found 1; 29: 0, found 1"
    ):
        open_store(dataset, TOY, make_manifest(counts=counts))


WRONG = {"train": {"images": 6, "classes": [4, 2]}}


def test_data_that_differ_can_be_gone_on_with_and_are_marked(toy_root: Path) -> None:
    dataset, manifest = Toy(Parameters(), toy_root), make_manifest(counts=WRONG)
    released = open_toy(toy_root)
    store = open_store(dataset, TOY, manifest, allow_mismatch=True)
    assert store.mismatch == ("train: expected images a class (4, 2), found (3, 3)",)
    assert released.mismatch == ()
    # The store that is there now does not pass for the released data later on.
    with pytest.raises(DataError, match="--allow-mismatch"):
        open_store(dataset, TOY, manifest)
    assert open_store(dataset, TOY, manifest, allow_mismatch=True).mismatch == store.mismatch
    # Nor does one of which only a part is left, that could not be counted again.
    part = open_store(dataset, Spec("toy", {"per_class": 2}), manifest, allow_mismatch=True)
    assert part.mismatch == store.mismatch
    with pytest.raises(DataError, match="--allow-mismatch"):
        open_store(dataset, Spec("toy", {"per_class": 2}), manifest)


@contextlib.contextmanager
def no_file_more() -> Iterator[None]:
    """Let this process open no file more."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_too_few_files_are_blamed_neither_on_an_image_nor_on_the_disk(toy_root: Path) -> None:
    dataset, manifest = Toy(Parameters(), toy_root), make_manifest()
    folder, identity = open_toy(toy_root).folder, store_module._identity(dataset, TOY, manifest)
    with no_file_more(), pytest.raises(OSError, match="Too many open files"):
        store_module._load(folder, identity, dataset)
    with no_file_more(), pytest.raises(OSError, match="Too many open files"):
        decode(toy_root / "toy" / "train" / "cat_0.png", Framing((6, 8)))


def test_an_old_store_that_a_killed_build_left_aside_is_removed(toy_root: Path) -> None:
    folder = open_toy(toy_root).folder
    aside = shutil.copytree(folder, folder.with_name(f".{folder.name}.old"))
    assert open_toy(toy_root).folder == folder
    assert not aside.exists()


def test_a_manifest_that_is_corrected_judges_an_old_store_anew(toy_root: Path) -> None:
    assert open_toy(toy_root).mismatch == ()
    with pytest.raises(DataError, match="expected images a class"):
        open_toy(toy_root, counts=WRONG)
    assert open_toy(toy_root, counts={"train": {"images": 6}}).mismatch == ()


def test_a_known_look_alike_is_called_by_its_name(toy_root: Path) -> None:
    lookalikes = [
        {"description": "the copy with fewer dogs", "counts": {"train": {"images": 6, "classes": [3, 3]}}},
        {"description": "another one", "counts": {"test": {"images": 7}}},
    ]
    with pytest.raises(DataError, match="promises: it is the copy with fewer dogs; train: expected images") as caught:
        open_toy(toy_root, counts=WRONG, lookalikes=lookalikes)
    assert "another one" not in str(caught.value)
    right = {"train": {"images": 6, "classes": [3, 3]}}
    assert open_toy(toy_root, counts=right, lookalikes=lookalikes).mismatch == ()


def test_a_known_file_with_other_content_is_a_difference_too(toy_root: Path) -> None:
    files = [{"path": "train/cat_0.png", "sha256": "0" * 64, "bytes": 3}]
    with pytest.raises(DataError, match=r"cat_0\.png \(\d+ bytes of content instead of 3\)"):
        open_toy(toy_root, files=files)
    store = open_store(Toy(Parameters(), toy_root), TOY, make_manifest(files=files), allow_mismatch=True)
    assert len(store.mismatch) == 1


def test_a_file_that_a_dataset_does_not_declare_is_an_error(toy_root: Path) -> None:
    class Careless(Toy):
        def source_files(self) -> Sequence[Path]:
            return super().source_files()[1:]

    with pytest.raises(PluginError, match=r"reads 1 files that its source_files\(\) leaves out.*cat_0\.png"):
        open_store(Careless(Parameters(), toy_root), TOY, make_manifest())


@pytest.mark.parametrize(("hold", "problems"), [("all", 2), ("images", 1), ("none", 0)])
def test_only_the_counts_that_hold_are_compared(
    toy_root: Path, monkeypatch: pytest.MonkeyPatch, hold: str, problems: int
) -> None:
    monkeypatch.setattr(Toy, "counts_hold", classmethod(lambda cls, params: hold))
    manifest = make_manifest(counts={"train": {"images": 7, "groups": [[3, 0], [1, 3]]}, "test": {"images": 6}})
    dataset = Toy(Parameters(), toy_root)
    assert len(verify(dataset, TOY, manifest)) == problems
    if problems:
        with pytest.raises(DataError, match="expected 7 images"):
            open_store(dataset, TOY, manifest)
    else:
        open_store(dataset, TOY, manifest)


def test_a_carved_validation_split_is_counted_with_train() -> None:
    splits = {"train": make_split(), "val": make_split((1, 1, 0)), "test": make_split()}
    counts = {"train": {"images": 5, "classes": [2, 3]}, "test": {"images": 2}}
    store = open_store(in_memory(**splits), TOY, make_manifest(counts=counts))
    assert list(store.splits) == ["train", "val", "test"]


@pytest.mark.parametrize(
    ("splits", "expected"),
    [
        ({"train": make_split((0, 0)), "test": make_split()}, "no images of class dog"),
        ({"train": make_split(ids=["a", "a"]), "test": make_split()}, "1 duplicate ids: a"),
        ({"train": make_split((0, 2)), "test": make_split()}, r"outside 0\.\.1: i1 has 2"),
        ({"train": make_split(bias=np.array([0, -1])), "test": make_split()}, "bias labels outside"),
        ({"train": make_split(target=(0, 1), ids=["a"]), "test": make_split()}, "2 images but 1 ids"),
        ({"train": make_split(inputs=np.zeros((2, 2, 2, 3))), "test": make_split()}, "float64"),
        ({"train": make_split(inputs=np.zeros((2, 3, 2, 2), np.uint8)), "test": make_split()}, r"of \(N, 2, 2, C\)"),
        (
            {"train": vectors([[1, 2], [3, np.nan]]), "test": vectors([[1, 2]], (0,))},
            "1 vectors have values",
        ),
        ({"train": vectors([[1], [2]]), "test": make_split()}, r"inputs of different shapes: \(1,\), \(2, 2, 3\)"),
        ({"train": make_split(inputs=[Path("a.png"), Path("b.png")]), "test": make_split()}, "no image_size"),
        ({"train": make_split()}, "no split 'test'"),
        ({"train": make_split(), "test": make_split(), "dev": make_split()}, "'dev' is none of"),
        ({"train": make_split(), "test": make_split(())}, "no images"),
    ],
)
def test_splits_that_are_not_sound_are_refused(splits: dict[str, Any], expected: str) -> None:
    dataset = in_memory(**splits)
    if "no image_size" in expected:
        dataset.image_size = None
    with pytest.raises(DataError, match=expected):
        open_store(dataset, TOY, make_manifest())


def test_every_bad_file_is_named(toy_root: Path) -> None:
    Toy.write(toy_root, number=30)
    good = (toy_root / "toy" / "train" / "cat_0.png").read_bytes()
    for count in range(25):
        (toy_root / "toy" / "train" / f"dog_{count}.png").write_bytes(good[:-40])
    (toy_root / "toy" / "test" / "cat_3.png").write_bytes(b"no image at all")
    with pytest.raises(DataError) as caught:
        open_toy(toy_root)
    message = str(caught.value)
    assert message.startswith("26 images")
    assert message.count(".png") == 20
    assert "and 6 more" in message
    assert "\n" not in message
    assert not list(Path(os.environ["NCBENCH_CACHE"]).rglob("*.npy"))


def test_a_link_out_of_the_folder_is_refused(toy_root: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret.png"
    Image.new("RGB", (8, 6)).save(secret)
    (toy_root / "toy" / "train" / "dog_9.png").symlink_to(secret)
    with pytest.raises(DataError, match=r"dog_9\.png \(a link out of the folder\)"):
        open_toy(toy_root)


def test_a_linked_folder_inside_is_refused_but_a_linked_root_is_fine(toy_root: Path, tmp_path: Path) -> None:
    linked = tmp_path / "linked"
    linked.mkdir()
    (linked / "toy").symlink_to(toy_root / "toy")
    assert len(open_toy(linked).splits["train"]) == 6
    (toy_root / "toy" / "train").rename(tmp_path / "elsewhere")
    (toy_root / "toy" / "train").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DataError, match="a link out of the folder"):
        open_toy(toy_root)


def test_a_cache_that_cannot_be_written_to(toy_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocked = tmp_path / "a file"
    blocked.write_text("")
    monkeypatch.setenv("NCBENCH_CACHE", str(blocked / "cache"))
    with pytest.raises(DataError, match="NCBENCH_CACHE") as caught:
        open_toy(toy_root)
    assert "\n" not in str(caught.value)


def test_a_disk_that_is_too_small_is_noticed_before(toy_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(100, 90, 10))
    with pytest.raises(DataError, match=r"MB are free.*NCBENCH_CACHE"):
        open_toy(toy_root)


def test_a_disk_that_fills_up_leaves_nothing(toy_root: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: Any, **options: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    with pytest.raises(DataError, match=r"No space left on device.*NCBENCH_CACHE"):
        open_toy(toy_root)
    assert [path.name for path in (cache / "stores" / "toy").iterdir() if not path.name.endswith(".lock")] == []


_SCRIPT = """
    import sys
    from pathlib import Path
    sys.path.insert(0, {tests!r})
    from tests.data.conftest import TOY, Toy, make_manifest
    from ncbench import Parameters
    from ncbench.data.store import open as store, write
    {extra}
    opened = store.open_store(Toy(Parameters(), Path({root!r})), TOY, make_manifest())
    print(opened.fingerprint)
"""


def _script(root: Path, extra: str = "") -> str:
    return textwrap.dedent(_SCRIPT).format(tests=str(Path(__file__).parents[2]), root=str(root), extra=extra)


def test_a_killed_build_is_gone_on_with(toy_root: Path, cache: Path) -> None:
    # The build stops for good after its first split is written.
    hang = (
        "import time; from ncbench.data.store import build; inner = build.write_split\n"
        "def write_split(folder, name, *rest):\n"
        "    if name == 'test': print('half', flush=True); time.sleep(600)\n"
        "    return inner(folder, name, *rest)\n"
        "build.write_split = write_split"
    )
    process = served.Process("-c", _script(toy_root, hang))
    while process.running and not process.stdout:
        time.sleep(0.005)
    assert process.stdout == "half\n"
    process.send(signal.SIGKILL)
    process.finish()
    left = [path for path in (cache / "stores" / "toy").iterdir() if path.is_dir()]
    assert [path.name.endswith(".partial") for path in left] == [True]
    (left[0] / ".train.progress.json.1.tmp").write_bytes(b"")  # as a kill in the middle of writing a file leaves it
    lines: list[str] = []
    store = open_store(Toy(Parameters(), toy_root), TOY, make_manifest(), lines.append)
    assert "train: going on after 6 of 6 images" in lines
    assert sorted(path.name for path in store.folder.iterdir()) == sorted(
        ["meta.json", *(f"{name}.{part}.npy" for name in store.splits for part in ("inputs", "target", "bias", "ids"))]
    )
    assert [path for path in store.folder.parent.iterdir() if path.is_dir()] == [store.folder]
    shutil.rmtree(store.folder)
    assert open_toy(toy_root).fingerprint == store.fingerprint


class Interrupted:
    """Decoding that is interrupted before the n-th file, and counts the files."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls = 0
        self.stop: int | None = None
        monkeypatch.setattr(write, "_SECURED_BYTES", 1)
        monkeypatch.setattr(decode_module, "CHUNK", 1)
        monkeypatch.setattr(decode_module, "_cores", lambda: 1)
        monkeypatch.setattr(decode_module, "decode", self)

    def __call__(self, file: Path | bytes, framing: Framing) -> np.ndarray:
        if self.calls == self.stop:
            raise KeyboardInterrupt
        self.calls += 1
        return decode(file, framing)

    def build(self, root: Path, stop: int | None) -> Store | None:
        """Return the store, or None if the build was interrupted after `stop` files."""
        self.calls, self.stop = 0, stop
        try:
            return open_toy(root)
        except KeyboardInterrupt:
            return None


@pytest.fixture
def decoding(monkeypatch: pytest.MonkeyPatch) -> Interrupted:
    return Interrupted(monkeypatch)


def test_an_interrupted_build_decodes_no_file_twice(toy_root: Path, decoding: Interrupted) -> None:
    whole = decoding.build(toy_root, None)
    assert whole is not None
    assert decoding.calls == 12
    shutil.rmtree(whole.folder)
    done = 0
    for stop in (0, 4, 1, 3):  # within the training images, at their end, and within the test images
        assert decoding.build(toy_root, stop) is None
        done += stop
    again = decoding.build(toy_root, None)
    assert again is not None
    assert decoding.calls == 12 - done
    assert again.fingerprint == whole.fingerprint
    for name, split in again.splits.items():
        np.testing.assert_array_equal(split.inputs, whole.splits[name].inputs)


@pytest.mark.parametrize("change", ["pixels", "cut", "header", "progress", "no progress", "source", "label", "plan"])
def test_what_an_interrupted_build_left_is_not_trusted(toy_root: Path, decoding: Interrupted, change: str) -> None:
    whole = decoding.build(toy_root, None)
    assert whole is not None
    shutil.rmtree(whole.folder)
    assert decoding.build(toy_root, 4) is None
    partial = whole.folder.with_name(f".{whole.folder.name}.partial")
    images, progress = partial / "train.inputs.npy", partial / f"train{write.PROGRESS}"
    content = images.read_bytes()
    if change == "pixels":
        images.write_bytes(content[:200] + bytes([content[200] ^ 1]) + content[201:])
    elif change == "cut":
        images.write_bytes(content[:-1])
    elif change == "header":
        images.write_bytes(content.replace(b"(6,", b"(7,"))
    elif change == "progress":
        progress.write_text('{"images": 5, "sha256": "0"}')
    elif change == "no progress":
        progress.unlink()
    elif change == "source":
        shutil.copy(toy_root / "toy" / "train" / "cat_1.png", toy_root / "toy" / "train" / "cat_0.png")
    elif change == "label":
        for kind in ("train", "test"):
            (toy_root / "toy" / kind / "cat_2.png").rename(toy_root / "toy" / kind / "dog_9.png")
    else:
        (partial / "plan.json").write_text("{}")
    again = decoding.build(toy_root, None)
    assert again is not None
    assert decoding.calls == 12
    assert (again.fingerprint == whole.fingerprint) == (change not in ("source", "label"))


def test_a_bad_file_before_an_interruption_is_still_named(toy_root: Path, decoding: Interrupted) -> None:
    (toy_root / "toy" / "train" / "cat_0.png").write_bytes(b"no image")
    assert decoding.build(toy_root, 4) is None
    with pytest.raises(DataError, match=r"cat_0\.png"):
        decoding.build(toy_root, None)


def test_processes_that_prepare_the_same_store_do_not_harm_each_other(toy_root: Path) -> None:
    processes = [served.Process("-c", _script(toy_root)) for _ in range(3)]
    ended = [process.finish() for process in processes]
    assert all(process.returncode == 0 for process in ended)
    assert {process.stdout for process in ended} == {open_toy(toy_root).fingerprint + "\n"}


def test_preparing_needs_no_main_guard(toy_root: Path, tmp_path: Path) -> None:
    # With enough files for many tasks, a plain script must not be run again by whoever decodes them.
    Toy.write(toy_root, number=130)
    script = tmp_path / "script.py"
    script.write_text(_script(toy_root))
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=True)
    assert len(done.stdout.splitlines()) == 1


def test_a_waiting_process_says_so(toy_root: Path) -> None:
    from filelock import FileLock

    folder = store_module.store_folder(TOY, toy_root / "toy")
    folder.parent.mkdir(parents=True)
    lines: list[str] = []
    lock = FileLock(folder.with_name(f".{folder.name}.lock"), thread_local=False)
    lock.acquire()

    def report(line: str) -> None:
        lines.append(line)
        lock.release()

    open_store(Toy(Parameters(), toy_root), TOY, make_manifest(), report)
    assert "Another process is preparing" in lines[0]
