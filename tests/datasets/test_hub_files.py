"""The hub's parquet files: where they are copied to, when the copy is made anew, and who may read it at once."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from ncbench import DataError
from ncbench_datasets.layouts.hub_files import read_images, read_pictures, write_pictures
from tests import served


def _write(path: Path, number: int = 300) -> np.ndarray:
    images = np.random.default_rng(0).integers(0, 256, (number, 8, 8, 3), dtype=np.uint8)
    write_pictures(path, "image", images, {"label": np.arange(number) % 10})
    return images


def _read(path: Path) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    return read_pictures(path, "image", ["label"], [], (8, 8))


def test_what_was_written_is_read(tmp_path: Path) -> None:
    for number in (300, 1):
        images = _write(tmp_path / "x.parquet", number)
        pixels, labels = _read(tmp_path / "x.parquet")
        np.testing.assert_array_equal(pixels, images)
        np.testing.assert_array_equal(labels["label"], np.arange(number) % 10)


def test_threads_and_processes_read_the_same_bytes(tmp_path: Path) -> None:
    _write(tmp_path / "x.parquet")
    images, _ = read_images([tmp_path / "x.parquet"], "image", ["label"])
    alone = [image.read_bytes() for image in images]
    assert alone[0].startswith(b"\x89PNG")
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(lambda image: image.read_bytes(), images)) == alone
    (tmp_path / "images.pickle").write_bytes(pickle.dumps(images))
    code = "import pickle, sys; print(*(len(i.read_bytes()) for i in pickle.load(open(sys.argv[1], 'rb'))))"
    done = served.python("-c", code, tmp_path / "images.pickle")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(len(content)) for content in alone]
    assert len(pickle.dumps(images)) < sum(map(len, alone))  # the file is mapped there too, not sent


def test_a_file_that_changed_is_read_anew_whatever_its_time_says(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    _write(path)
    _read(path)
    state, content = path.stat(), path.read_bytes()
    middle = len(content) // 2
    path.write_bytes(content[:middle] + bytes(200) + content[middle + 200 :])
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    with pytest.raises(DataError, match=r"x\.parquet"):
        _read(path)


def test_a_cache_that_cannot_be_written_to_is_no_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _write(tmp_path / "x.parquet")
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("NCBENCH_CACHE", str(tmp_path / "file"))
    with pytest.raises(DataError, match=r"x\.parquet cannot be read \(.*Not a directory.*file"):
        _read(tmp_path / "x.parquet")


def test_nothing_is_written_beside_the_cache_and_nobody_is_called(tmp_path: Path, cache: Path) -> None:
    _write(tmp_path / "x.parquet")
    code = """
import socket, sys
def refuse(*arguments, **options): raise SystemExit("a connection was asked for")
socket.socket.connect = socket.getaddrinfo = refuse
from pathlib import Path
from ncbench_datasets.layouts.hub_files import read_images
images, labels = read_images([Path(sys.argv[1])], "image", ["label"])
print(len(images[3].read_bytes()) > 0, len(labels["label"]))
"""
    home = tmp_path / "home"
    home.mkdir()
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "XDG_", "HUGGINGFACE_"))}
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "x.parquet")],
        capture_output=True,
        text=True,
        check=False,
        env={**ours, "HOME": str(home)},
    )
    assert (done.stdout, done.stderr) == ("True 300\n", "")
    assert [path for path in home.rglob("*") if path.is_file()] == []
    assert [path.name for path in cache.iterdir()] == ["parquet"]
