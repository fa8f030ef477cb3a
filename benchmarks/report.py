"""How a benchmark reports: a table on the terminal, and JSON that says where the figures come from.

    from report import write

    write("p3_collapse", rows, notes=["ratio = median of ours / median of the reference, n = 7"])

A script in this folder is run as `python benchmarks/NAME.py`, so this module is imported by its bare name.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path

RESULTS = Path(__file__).resolve().parent / "results"

Cell = str | int | float | bool | None


def write(name: str, rows: Sequence[Mapping[str, Cell]], notes: Sequence[str] = ()) -> Path:
    """Print the rows as a table and write `benchmarks/results/<name>.json`.

    Args:
        name: the benchmark's name, which is the file's.
        rows: one flat mapping a measured case: column name -> number or text. Name the number of repeats in a column.
        notes: what a reader must know to read the figures: the reference, units, the goal.

    Returns:
        The file written: {benchmark, created, environment, notes, rows}.
    """
    print(table(rows))
    for note in notes:
        print(f"  {note}")
    record = {
        "benchmark": name,
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "environment": environment(),
        "notes": list(notes),
        "rows": [dict(row) for row in rows],
    }
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    return path


def table(rows: Sequence[Mapping[str, Cell]]) -> str:
    """The rows as aligned text: one column a key, in order of first appearance; floats to four digits.

    >>> print(table([{"case": "a", "seconds": 1.23456}, {"case": "bb", "ratio": 2}]))
    case  seconds  ratio
    a     1.235
    bb             2
    """
    columns = list(dict.fromkeys(key for row in rows for key in row))
    cells = [columns] + [[_text(row.get(column, "")) for column in columns] for row in rows]
    widths = [max(len(line[i]) for line in cells) for i in range(len(columns))]
    return "\n".join("  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip() for line in cells)


def environment() -> dict[str, Cell]:
    """Hardware, versions and how busy the machine is: what a figure must be read with."""
    facts: dict[str, Cell] = {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "load_average_1min": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "system": platform.platform(),
        "python": platform.python_version(),
    }
    for package in ("ncbench", "numpy", "torch"):
        try:
            facts[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            facts[package] = None
    torch = sys.modules.get("torch")  # never imported for the report: start-up benchmarks run without it
    if torch is not None:
        facts["threads"] = torch.get_num_threads()
        if torch.cuda.is_available():
            facts["gpu"] = torch.cuda.get_device_name()
            facts["cuda"] = torch.version.cuda
    return facts


def _cpu_model() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _text(value: Cell) -> str:
    return f"{value:.4g}" if isinstance(value, float) else "" if value is None else str(value)
