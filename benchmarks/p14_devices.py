"""P14: one run on two CPU processes, against the same run on one process with one thread.

The network is a ResNet-20, on twins of CIFAR-10's images, with group normalisation: a CPU cannot compute batch
normalisation over several processes. Goal: 1.7 times as fast, by the median epoch's seconds of training, on two quiet
cores.
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

from report import write

BACKBONE = Path(__file__).with_name("p14_backbone.py")


def epoch_seconds(devices: int, folder: Path, options: argparse.Namespace) -> float:
    """Make a run on so many processes of one thread each, and return its median epoch's seconds of training."""
    command = [sys.executable, "-m", "ncbench", "run", "--method", "erm", "--dataset", options.dataset]
    command += ["--plugin", str(BACKBONE), "--backbone", "resnet20_groups", "--device", "cpu", "--synthetic"]
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
    parser.add_argument("--dataset", default="cifar10")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    seconds: dict[int, list[float]] = {1: [], 2: []}
    with TemporaryDirectory() as folder:
        for _ in range(options.repeats):
            for devices, found in seconds.items():
                found.append(epoch_seconds(devices, Path(folder), options))
    medians = {devices: statistics.median(found) for devices, found in seconds.items()}
    rows = [
        {"processes": devices, "epoch_seconds": round(median, 2), "speed": round(medians[1] / median, 2)}
        for devices, median in medians.items()
    ]
    write("p14_devices", rows, notes=[f"median of {options.repeats} runs, in turn, a thread a process; goal: 1.7"])


if __name__ == "__main__":
    main()
