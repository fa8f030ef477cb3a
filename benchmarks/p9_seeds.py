"""P9: five seeds of one small configuration on one GPU, made by one sweep, against one seed made the same way.

python benchmarks/p9_seeds.py [--device cuda:0] [--epochs N]          Goal: at most twice the time of one seed.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
import yaml
from report import write

SEEDS, ROUNDS = 5, 3


def sweep(seeds: int, epochs: int, device: str) -> float:
    """Return the seconds of a sweep over this many seeds, all at a time."""
    block = {
        "methods": ["erm"],
        "datasets": ["colored_digits"],
        "backbone": "small_cnn",
        "seeds": list(range(seeds)),
        "settings": {"recipe.epochs": epochs, "recipe.evaluate_every": epochs, "recipe.measure_points": 1},
    }
    with tempfile.TemporaryDirectory() as folder:
        suite = Path(folder) / "suite.yaml"
        suite.write_text(yaml.safe_dump({"title": "P9", "description": "Seeds at a time.", "runs": [block]}))
        command = [sys.executable, "-m", "ncbench", "sweep", str(suite), "--output", f"{folder}/runs"]
        started = time.perf_counter()
        subprocess.run(
            [*command, "--workers", str(seeds), "--device", device],
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        return time.perf_counter() - started


def main() -> None:
    """Measure, print and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda:0" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--epochs", type=int, default=300)
    arguments = parser.parse_args()
    rounds = [[sweep(seeds, arguments.epochs, arguments.device) for seeds in (1, SEEDS)] for _ in range(ROUNDS)]
    one, all_ = (statistics.median(seconds) for seconds in zip(*rounds, strict=True))
    rows = [
        {"seeds": 1, "seconds": round(one, 1), "times_one": 1.0},
        {"seeds": SEEDS, "seconds": round(all_, 1), "times_one": round(all_ / one, 2)},
    ]
    notes = [
        f"erm, colored_digits, small_cnn, {arguments.epochs} epochs, {arguments.device}; median of {ROUNDS} rounds"
    ]
    write("p9_seeds", rows, notes=[*notes, "start of the interpreter and of the device included; goal: at most 2"])


if __name__ == "__main__":
    main()
