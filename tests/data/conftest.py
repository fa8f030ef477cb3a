"""A cache of its own for every test here, small stand-ins for manifests and datasets, and a server to fetch from."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ncbench import Dataset, DatasetCard, Parameters, Split
from ncbench.contracts.specs import Spec
from ncbench.data.sources.manifest import Manifest
from ncbench_datasets import ncbench_datasets

CARDS: Mapping[str, DatasetCard] = {card.name: card for card in ncbench_datasets()}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep every test's stores, twins and downloads to itself."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("NCBENCH_CACHE", str(folder))
    return folder


@pytest.fixture
def no_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NCBENCH_DATA", raising=False)


def make_manifest(**changes: Any) -> Manifest:
    """Return a small valid manifest."""
    content = {
        "name": "toy",
        "title": "Toy",
        "version": "1",
        "licence": {"name": "CC0", "url": "https://example.org/cc0"},
        "citation": "nobody",
        "homepage": "https://example.org",
        "backbone": "mlp",
        "primary_metric": "accuracy",
        "selection": "last",
    }
    return Manifest.model_validate(content | changes)


class Toy(Dataset):
    """Images of two classes in ``toy/<split>/<class>_<number>.png``, of 6 x 8 pixels."""

    folder = "toy"
    class_names = ("cat", "dog")
    bias_names = ("dark", "bright")
    image_size = (6, 8)

    def source_files(self) -> Sequence[Path]:
        return sorted(self.source.glob("*/*.png"))

    def read(self) -> Mapping[str, Split]:
        return {split: self._read(split) for split in ("train", "test")}

    def _read(self, split: str) -> Split:
        paths = sorted((self.source / split).glob("*.png"))
        target = np.array([path.stem.startswith("dog") for path in paths], dtype=np.int64)
        return Split(inputs=paths, target=target, bias=target.copy(), ids=[f"{split}/{path.stem}" for path in paths])

    @classmethod
    def write(cls, root: Path, number: int = 3, size: tuple[int, int] = (8, 6)) -> None:
        generator = np.random.default_rng(0)
        for split in ("train", "test"):
            folder = root / "toy" / split
            folder.mkdir(parents=True, exist_ok=True)
            for name in cls.class_names:
                for count in range(number):
                    pixels = generator.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
                    Image.fromarray(pixels).save(folder / f"{name}_{count}.png")


class InMemory(Dataset):
    """An embedded dataset whose splits a test gives."""

    folder = None
    class_names = ("cat", "dog")
    bias_names = ("dark", "bright")
    image_size = (2, 2)
    splits: Mapping[str, Split]

    def source_files(self) -> Sequence[Path]:
        return ()

    def read(self) -> Mapping[str, Split]:
        return self.splits


def in_memory(**splits: Split) -> InMemory:
    dataset = InMemory(Parameters(), None)
    dataset.splits = splits
    return dataset


def make_split(target: Sequence[int] = (0, 1), **changes: Any) -> Split:
    number = len(target)
    content: dict[str, Any] = {
        "inputs": np.arange(number * 12, dtype=np.uint8).reshape(number, 2, 2, 3),
        "target": np.asarray(target, dtype=np.int64),
        "bias": np.zeros(number, dtype=np.int64),
        "ids": [f"i{index}" for index in range(number)],
    }
    return Split(**(content | changes))


TOY = Spec("toy")


@pytest.fixture
def toy_root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    Toy.write(root)
    return root


@pytest.fixture(scope="module")
def twin(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data root with the twin of the module's CARD; read only."""
    root = tmp_path_factory.mktemp("twin")
    request.module.CARD.load().synthesize(root)
    return root


@pytest.fixture
def root(twin: Path, tmp_path: Path) -> Path:
    """A data root with the twin of the module's CARD that a test may damage."""
    return copy_tree(twin, tmp_path / "root")


@pytest.fixture
def mnist_root(tmp_path: Path) -> Path:
    """A writable data root with colored_mnist's twin."""
    root = tmp_path / "twin"
    CARDS["colored_mnist"].load().synthesize(root)
    return root


@pytest.fixture
def bar_root(tmp_path: Path) -> Path:
    """A writable data root with BAR's twin."""
    root = tmp_path / "twin"
    CARDS["bar"].load().synthesize(root)
    return root


class Server(ThreadingHTTPServer):
    """Serves `files` by path; `rules` by path may answer a request themselves, and say whether they did."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, bytes] = {}
        self.rules: dict[str, Callable[[_Handler], bool]] = {}
        self.requests: list[tuple[str, str | None]] = []

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}{path}"


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.requests.append((self.path, self.headers.get("Range")))
        rule = self.server.rules.get(self.path)
        if rule is not None and rule(self):
            return
        if self.path not in self.server.files:
            self.send_error(404)
            return
        content = self.server.files[self.path]
        start = self.range_start()
        if start and start >= len(content):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        self.wfile.write(content[start:])

    def range_start(self) -> int:
        asked = self.headers.get("Range", "")
        return int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        return


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def copy_tree(source: Path, target: Path) -> Path:
    shutil.copytree(source, target)
    return target
