"""P14: one run on two CPU processes, against the same run on one process with one thread.

The network is a ResNet-20, on noise of the size of CIFAR-10's images, with group normalisation: a CPU cannot compute
batch normalisation over several processes. Goal: 1.7 times as fast, by the median epoch's seconds of training, on two
quiet cores. What the processes do once an epoch counts in full: an epoch has 16 steps here and would have 390.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image
from report import write

BACKBONE = Path(__file__).with_name("p14_backbone.py")


def write_images(folder: Path, train: int) -> None:
    """Write that many training images of ten classes, and a test image a class."""
    generator = np.random.default_rng(0)
    for split, number in (("train", train), ("test", 10)):
        for index in range(number):
            path = folder / split / str(index % 10) / f"{index}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(generator.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(path)


def epoch_seconds(devices: int, images: Path, folder: Path, options: argparse.Namespace) -> float:
    """Make a run on so many processes of one thread each, and return its median epoch's seconds of training."""
    command = [sys.executable, "-m", "ncbench", "run", "--method", "erm"]
    command += ["--dataset", f"folder:path={images},size=32"]
    command += ["--plugin", str(BACKBONE), "--backbone", "resnet20_groups", "--device", "cpu"]
    command += ["--set", f"recipe.epochs={options.epochs}", "--set", "recipe.batch_size=128"]
    command += ["--set", f"recipe.evaluate_every={options.epochs}", "--set", "recipe.measure_points=1"]
    command += ["--devices", str(devices), "--output", str(folder), "--force", "--quiet"]
    subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    (path,) = folder.glob("*/result.json")
    record = json.loads(path.read_text())
    assert record["environment"]["devices"] == devices
    return float(record["timing"]["median_epoch_train_seconds"])


def main() -> None:
    """Measure in turn, print and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=2048)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    seconds: dict[int, list[float]] = {1: [], 2: []}
    with TemporaryDirectory() as scratch:
        images, runs = Path(scratch, "images"), Path(scratch, "runs")
        write_images(images, options.images)
        for _ in range(options.repeats):
            for devices, found in seconds.items():
                found.append(epoch_seconds(devices, images, runs, options))
    medians = {devices: statistics.median(found) for devices, found in seconds.items()}
    rows = [
        {"processes": devices, "epoch_seconds": round(median, 2), "speed": round(medians[1] / median, 2)}
        for devices, median in medians.items()
    ]
    write("p14_devices", rows, notes=[f"median of {options.repeats} runs, in turn, a thread a process; goal: 1.7"])


if __name__ == "__main__":
    main()
