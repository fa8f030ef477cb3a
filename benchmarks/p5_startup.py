"""P5: how long `ncbench --help` and `ncbench list methods` take, against the interpreter importing click.

Goal: help within 0.3 s, list within 0.5 s on two cores, torch not imported.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

from report import write

REPEATS = 15
COMMANDS = {
    "python -c 'import click'": [sys.executable, "-c", "import click"],
    "ncbench --help": [sys.executable, "-m", "ncbench", "--help"],
    "ncbench list methods": [sys.executable, "-m", "ncbench", "list", "methods"],
}


def seconds(command: list[str]) -> float:
    """Return the wall time of one run of a command."""
    started = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - started


def imports_torch(command: list[str]) -> bool:
    """Return whether the command imports torch, as the interpreter itself reports."""
    traced = [command[0], "-X", "importtime", *command[1:]]
    report = subprocess.run(traced, check=True, capture_output=True, text=True).stderr
    return any(line.rpartition("|")[2].strip() == "torch" for line in report.splitlines())


def main() -> None:
    """Measure, print and write the figures."""
    medians = {}
    for name, command in COMMANDS.items():
        seconds(command)  # warms the file cache
        medians[name] = statistics.median(seconds(command) for _ in range(REPEATS))
    reference = medians["python -c 'import click'"]
    rows = [
        {
            "command": name,
            "median_seconds": round(median, 3),
            "ratio_to_click": round(median / reference, 2),
            "imports_torch": imports_torch(COMMANDS[name]),
        }
        for name, median in medians.items()
    ]
    write("p5_startup", rows, notes=[f"median of {REPEATS} runs; goals: help <= 0.3 s, list <= 0.5 s, no torch"])


if __name__ == "__main__":
    main()
