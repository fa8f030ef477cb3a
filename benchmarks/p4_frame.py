"""P4: the smallest feasible similarity of a hierarchy-aware frame, against a grid of eigendecompositions.

    python benchmarks/p4_frame.py [--repeats N]

The reference scans 100 values of s from -1 to 0 and takes the eigenvalues of (1 - s) E + s for each, as the published
code does. Ours is exact: from the tree, from a distance matrix by one Cholesky factor, and with the frame itself. The
tree is random, of seven levels: 1,010 classes, the size of iNaturalist 2019, and 10,000.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from report import Cell, write

from ncbench.geometry import Hierarchy, hierarchy_aware_frame, smallest_similarity

GAMMA = 5.0


def tree(num_classes: int) -> Hierarchy:
    """A random tree of seven levels over so many classes: three branches a node, six times, and then the classes."""
    turns = torch.randint(0, 3, (num_classes, 6), generator=torch.Generator().manual_seed(0)).tolist()
    return Hierarchy.from_categories([[f"class{leaf}", *map(str, path)] for leaf, path in enumerate(turns)])


def grid(distances: torch.Tensor) -> float:
    """The scan of the published code: the smallest of 100 values of s that leaves no negative eigenvalue."""
    exponential = torch.exp(-GAMMA * distances / distances.max())
    steps = [-step / 100 for step in range(100)]
    return min(s for s in steps if float(torch.linalg.eigvalsh((1 - s) * exponential + s)[0]) >= -1e-12)


def seconds(job: Callable[[], object], repeats: int) -> float:
    """Median seconds of so many rounds."""
    taken = []
    for _ in range(repeats):
        start = time.perf_counter()
        job()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def peak() -> float:
    """Peak resident memory of this process so far, MiB."""
    status = Path("/proc/self/status")
    if status.exists():  # ru_maxrss would count the parent this process was forked from
        return float(status.read_text(encoding="utf-8").partition("VmHWM:")[2].split()[0]) / (1 << 10)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 10)


def large_frame(from_matrix: bool) -> None:
    """One frame of 10,000 classes in this process: its seconds, and the process's peak in MiB."""
    hierarchy = tree(10_000)
    distances = hierarchy.distances() if from_matrix else hierarchy
    start = time.perf_counter()
    hierarchy_aware_frame(distances, GAMMA, 10_000)
    print(time.perf_counter() - start, peak())


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--large", choices=("tree", "matrix"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.large:
        large_frame(options.large == "matrix")
        return
    hierarchy = tree(1010)
    distances = hierarchy.distances(torch.float64)
    exact = smallest_similarity(hierarchy, GAMMA)
    start = time.perf_counter()
    scanned = grid(distances)
    reference = time.perf_counter() - start
    work: dict[str, Callable[[], object]] = {
        "smallest similarity, from the tree": lambda: smallest_similarity(hierarchy, GAMMA),
        "smallest similarity, from distances": lambda: smallest_similarity(distances, GAMMA),
        "whole frame, from the tree": lambda: hierarchy_aware_frame(hierarchy, GAMMA, 1010),
        "whole frame, from distances": lambda: hierarchy_aware_frame(distances, GAMMA, 1010),
    }
    rows: list[dict[str, Cell]] = [
        {"work": "grid of 100 eigendecompositions", "classes": 1010, "n": 1, "seconds": reference, "s": scanned}
    ]
    for name, job in work.items():
        job()
        taken = seconds(job, options.repeats)
        rows.append(
            {
                "work": name,
                "classes": 1010,
                "n": options.repeats,
                "seconds": taken,
                "s": exact,
                "times_faster": reference / taken,
            }
        )
    for source in ("tree", "matrix"):
        arguments = [sys.executable, __file__, "--large", source]
        output = subprocess.run(arguments, check=True, capture_output=True, text=True).stdout
        taken, used = (float(number) for number in output.split())
        rows.append(
            {
                "work": f"whole frame, from the {source}",
                "classes": 10_000,
                "n": 1,
                "seconds": taken,
                "peak_mib": round(used),
            }
        )
    write(
        "p4_frame",
        rows,
        notes=[
            "goal: at least 50 times faster at 1010 classes; 10,000 classes in under 60 s and 4096 MiB",
            "times_faster: than the grid, timed in the same process; peak_mib: of the whole process, torch included",
        ],
    )


if __name__ == "__main__":
    main()
