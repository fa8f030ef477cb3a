"""P11: how long a run of one epoch takes from start to exit, against the interpreter importing torch.

Goal: 1.6 times as long, with nobody looking, and a picture of the run within 1.5 s.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from report import write

REPEATS = 7


def measure(command: list[str]) -> tuple[float, float]:
    """Return the wall time and the CPU time of one run of a command, in seconds."""
    before, started = os.times(), time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    seconds, after = time.perf_counter() - started, os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return seconds, cpu


def main() -> None:
    """Measure in turn, print and write the figures."""
    with TemporaryDirectory() as folder:
        one_epoch = [sys.executable, "-m", "ncbench", "run", "--force", "--set", "recipe.epochs=1", "--output", folder]
        subprocess.run(one_epoch, check=True, capture_output=True)  # makes the store, and the run that is drawn
        (run,) = Path(folder).iterdir()
        commands = {
            "python -c 'import torch'": [sys.executable, "-c", "import torch"],
            "ncbench run, one epoch of colored_digits": one_epoch,
            "ncbench plot, that run": [sys.executable, "-m", "ncbench", "plot", str(run)],
        }
        measured: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
        for _ in range(REPEATS):
            for name, command in commands.items():
                measured[name].append(measure(command))
    rows = []
    for name, times in measured.items():
        wall, cpu = (statistics.median(each) for each in zip(*times, strict=True))
        rows.append({"command": name, "median_seconds": round(wall, 2), "median_cpu_seconds": round(cpu, 2)})
    for row in rows:
        row["ratio"] = round(row["median_seconds"] / rows[0]["median_seconds"], 2)
        row["cpu_ratio"] = round(row["median_cpu_seconds"] / rows[0]["median_cpu_seconds"], 2)
    note = f"median of {REPEATS} rounds, in turn; goals: a run <= 1.6, a picture <= 1.5 s on two quiet cores"
    write("p11_one_epoch", rows, notes=[note])


if __name__ == "__main__":
    main()
