"""P6: preparing a store from JPEG files, against a bare multi-process decode loop with the same decoder.

The bare loop is a process pool whose workers decode and fit files as the store does, and whose images are put into an
array in memory. The store also reads the labels, hashes every file, writes the images to disk and hashes them.
Goal: at least 0.9 of its rate.

    python benchmarks/p6_prepare.py [--images N] [--rounds N]
    python benchmarks/p6_prepare.py --train --images 20000      (prepare, then train an epoch; prints the peak memory)
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from report import write

from ncbench import Dataset, Split
from ncbench.contracts.specs import Spec
from ncbench.data.sources.manifest import Manifest, load_manifest
from ncbench.data.store.decode import Framing, decode
from ncbench.data.store.open import open_store

SIZE = 224
FRAMING = Framing((SIZE, SIZE))
MANIFEST = "ncbench:datasets_manifest/bar.yaml"
CHUNK = 16  # files a task of the bare loop, as in the store's decoder


class Photographs(Dataset):
    """A folder of JPEG files, the class in the name."""

    folder = "photographs"
    class_names = ("first", "second")
    image_size = (SIZE, SIZE)

    def source_files(self) -> list[Path]:
        """Return the files of the only folder."""
        return sorted(self.source.iterdir())

    def read(self) -> dict[str, Split]:
        """Put an eighth of the images into the test split."""
        files = self.source_files()
        cut = len(files) - max(2, len(files) // 8)
        return {"train": _split(files[:cut]), "test": _split(files[cut:])}


def _split(files: list[Path]) -> Split:
    target = np.array([int(path.stem.rpartition("_")[2]) for path in files], dtype=np.int64)
    return Split(inputs=files, target=target, bias=None, ids=[path.stem for path in files])


def write_photographs(root: Path, number: int) -> Path:
    """Write JPEG files of 500 x 375 pixels with the spectrum of photographs, so that they compress like some."""
    folder = root / Photographs.folder
    folder.mkdir()
    generator = np.random.default_rng(0)
    frequency = np.hypot(np.fft.fftfreq(375)[:, None], np.fft.rfftfreq(500)[None])
    envelope = 1 / np.maximum(frequency, 1 / 500)
    distinct = []
    for _ in range(min(number, 64)):
        noise = generator.normal(size=(3, 375, 500))
        smooth = np.fft.irfft2(np.fft.rfft2(noise) * envelope, s=(375, 500))
        distinct.append(np.clip(128 + 50 * smooth / smooth.std(), 0, 255).astype(np.uint8).transpose(1, 2, 0))
    for index in range(number):
        picture = np.roll(distinct[index % len(distinct)], index, axis=1)
        Image.fromarray(picture).save(folder / f"{index:06}_{index % 2}.jpg", quality=85)
    return root


def bare(files: list[Path]) -> float:
    """Return the images a second of the bare loop."""
    images = np.empty((len(files), SIZE, SIZE, 3), dtype=np.uint8)
    started = time.perf_counter()
    with multiprocessing.Pool(len(os.sched_getaffinity(0))) as pool:
        for index, image in enumerate(pool.imap(_decoded, files, chunksize=CHUNK)):
            images[index] = image
    return len(files) / (time.perf_counter() - started)


def _decoded(path: Path) -> np.ndarray[Any, Any]:
    return decode(path, FRAMING)


def prepared(root: Path) -> float:
    """Return the images a second of building the store, its opening included."""
    dataset = Photographs(Photographs.Parameters(), root)
    with _own_cache():
        started = time.perf_counter()
        store = open_store(dataset, Spec("photographs"), _manifest())
        seconds = time.perf_counter() - started
        return sum(len(split) for split in store.splits.values()) / seconds


def train(root: Path) -> dict[str, int]:
    """Prepare a store, pass over it in random order as a training epoch does, and return sizes and peaks in MiB."""
    import torch

    from ncbench.data.loading.loader import Loader

    dataset = Photographs(Photographs.Parameters(), root)
    with _own_cache():
        store = open_store(dataset, Spec("photographs"), _manifest())
        preparing = _anonymous_peak()
        split = store.splits["train"]
        loader = Loader(split, torch.device("cpu"), "unit", "none", (), (), resident=False)
        net = torch.nn.Sequential(torch.nn.AvgPool2d(16), torch.nn.Flatten(), torch.nn.Linear(3 * (SIZE // 16) ** 2, 2))
        optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
        target = torch.tensor(split.target)
        for images, index in loader.batches(torch.randperm(len(split)), 64, torch.Generator()):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(net(images), target[index]).backward()
            optimizer.step()
        size = sum(part.inputs.nbytes for part in store.splits.values()) >> 20
        return {"store_mib": size, "preparing_peak_mib": preparing, "training_peak_mib": _anonymous_peak()}


def _anonymous_peak() -> int:
    """Return the most memory this process may have held that is no page cache, in MiB: peak, less mapped file pages."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return (int(status["VmHWM"].split()[0]) - int(status["RssFile"].split()[0])) >> 10


def _manifest() -> Manifest:
    return load_manifest(MANIFEST).for_twin()


@contextlib.contextmanager
def _own_cache() -> Iterator[None]:
    """Let stores go to a folder that is removed afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["NCBENCH_CACHE"] = folder
        yield


def rounds(root: Path, number: int) -> Iterator[tuple[float, float]]:
    """Yield the rates of the bare loop and of the store, taken in turn; the first round warms the page cache."""
    files = sorted((root / Photographs.folder).iterdir())
    for round_ in range(number + 1):
        rates = bare(files), prepared(root)
        if round_:
            yield rates


def main() -> None:
    """Measure, print and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--train", action="store_true", help="prepare and train on one store; print peak memory")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = write_photographs(Path(folder), arguments.images)
        if arguments.train:
            figures = train(root)
            write("p6_large_store", [{"images": arguments.images, **figures}], notes=["MiB; page cache not counted"])
            return
        bare_rates, store_rates = zip(*rounds(root, arguments.rounds), strict=True)
    reference, ours = statistics.median(bare_rates), statistics.median(store_rates)
    rows = [
        {"what": "bare decode loop", "images_per_second": round(reference, 1), "rate_to_bare": 1.0},
        {"what": "prepare", "images_per_second": round(ours, 1), "rate_to_bare": round(ours / reference, 3)},
    ]
    notes = [f"{arguments.images} JPEG files of 500 x 375 to {SIZE} px; median of {arguments.rounds} rounds in turn"]
    write("p6_prepare", rows, notes=[*notes, "goal: at least 0.9 of the bare loop's rate"])


if __name__ == "__main__":
    main()
