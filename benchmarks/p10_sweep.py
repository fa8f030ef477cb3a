"""P10: how much of a sweep of short runs is training and evaluation.

The suite of the coloured digits, 45 runs, two at a time: (sum of the runs' training and evaluation seconds) / (runs at
a time x wall seconds of the sweep, start to exit). Goal: 0.85 on two quiet cores.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from report import write

SUITE = Path(__file__).resolve().parents[1] / "leaderboard" / "suites" / "colored_digits.yaml"


def main() -> None:
    """Make the suite, print and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--suite", type=Path, default=SUITE)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    with TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "ncbench", "sweep", str(options.suite), "--output", folder, "--device", "cpu"]
        started = time.perf_counter()
        subprocess.run([*command, "--workers", str(options.workers)], check=True, capture_output=True)
        wall = time.perf_counter() - started
        records = [json.loads(path.read_text()) for path in Path(folder).glob("*/result.json")]
    busy = sum(record["timing"]["train_seconds"] + record["timing"]["evaluate_seconds"] for record in records)
    row = {
        "suite": options.suite.stem,
        "runs": len(records),
        "workers": options.workers,
        "wall_seconds": round(wall, 1),
        "train_and_evaluate_seconds": round(busy, 1),
        "share": round(busy / (options.workers * wall), 3),
    }
    write("p10_sweep", [row], notes=["share = training and evaluation / (workers x wall); goal >= 0.85"])


if __name__ == "__main__":
    main()
