"""P3: all collapse measures, against the matrix products that no method avoids.

    python benchmarks/p3_collapse.py [--case N,d,K]...

Reference, in the same process, on the same tensors: features x class means and features x classifier in batches of
1024, the Gram matrix of the means, and with K > d the within-class second moment. Ours is `measure`, features in
memory, and the same in a stream: ClassMeans, then ResidualStatistics, 1024 images at a time, and the geometry. The
two and the reference take turns, and a process's ratio is that of its medians. Where memory happens to lie makes one
process of the small case up to twice as fast as the next, so that case is timed in several and the row is their
median. Memory is the growth of the peak over the inputs, each in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from report import Cell, write

from ncbench.collapse import ClassMeans, ResidualStatistics, class_geometry, measure

Case = tuple[int, int, int]  # images, dimension, classes

CASES: dict[Case, tuple[int, int]] = {  # processes, and timed rounds in each
    (50_000, 512, 10): (11, 15),
    (100_000, 512, 1000): (1, 5),
    (50_000, 2048, 8142): (1, 3),
}
BATCH = 1024

Problem = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]


def problem(n: int, d: int, k: int) -> Problem:
    """Features (n, d), labels (n,), class means (k, d), weight (k, d), bias (k,); float32."""
    generator = torch.Generator().manual_seed(0)
    means = torch.randn(k, d, generator=generator)
    labels = torch.cat([torch.arange(k), torch.randint(0, k, (n - k,), generator=generator)])
    features = torch.randn(n, d, generator=generator)
    for x, y in zip(features.split(BATCH), labels.split(BATCH), strict=True):
        x += means[y]
    return features, labels, means, torch.randn(k, d, generator=generator), torch.randn(k, generator=generator)


def reference(features: torch.Tensor, means: torch.Tensor, weight: torch.Tensor) -> None:
    """The products the answer cannot avoid; their results are dropped."""
    k, d = means.shape
    moment = torch.zeros(d, d)
    for x in features.split(BATCH):
        x @ means.T
        x @ weight.T
        if k > d:
            moment.addmm_(x.T, x)
    means @ means.T


def stream(features: torch.Tensor, labels: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> None:
    """All measures of features that come a batch at a time, twice."""
    first = ClassMeans(len(weight), features.shape[1])
    for x, y in zip(features.split(BATCH), labels.split(BATCH), strict=True):
        first.update(x, y)
    means, counts = first.means, first.counts
    del first
    second = ResidualStatistics(means, weight, bias)
    for x, y in zip(features.split(BATCH), labels.split(BATCH), strict=True):
        second.update(x, y)
    class_geometry(means, counts, second.variances, weight)


def jobs(case: Case) -> dict[str, Callable[[], object]]:
    """What is timed, by name."""
    features, labels, means, weight, bias = problem(*case)
    return {
        "products": lambda: reference(features, means, weight),
        "measure": lambda: measure(features, labels, weight, bias),
        "stream": lambda: stream(features, labels, weight, bias),
    }


def seconds(work: dict[str, Callable[[], object]], repeats: int) -> dict[str, tuple[float, float]]:
    """Median seconds of each piece of work, on the clock and of the processor, in turns after one uncounted round."""
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in work}
    for turn in range(repeats + 1):
        for name, job in work.items():
            start, busy = time.perf_counter(), time.process_time()
            job()
            if turn:
                taken[name].append((time.perf_counter() - start, time.process_time() - busy))
    return {
        name: (statistics.median(t[0] for t in ts), statistics.median(t[1] for t in ts)) for name, ts in taken.items()
    }


def peak() -> float:
    """Peak resident memory of this process so far, MiB."""
    status = Path("/proc/self/status")
    if status.exists():  # ru_maxrss would count the parent this process was forked from
        return float(status.read_text(encoding="utf-8").partition("VmHWM:")[2].split()[0]) / (1 << 10)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 10)


def in_a_process(case: Case, job: str) -> str:
    """What a fresh process prints that runs `job`: "times", or the name of the work whose peak is wanted."""
    arguments = [sys.executable, __file__, "--only", job, "--case", ",".join(map(str, case))]
    return subprocess.run(arguments, check=True, capture_output=True, text=True).stdout


def row(case: Case) -> dict[str, Cell]:
    """The figures of one case."""
    processes, rounds = CASES.get(case, (1, 5))
    timed = [json.loads(in_a_process(case, "times")) for _ in range(processes)]

    def middle(name: str) -> float:
        return statistics.median(times[name][0] for times in timed)

    def ratios(name: str, clock: int) -> list[float]:
        return sorted(times[name][clock] / times["products"][clock] for times in timed)

    figures: dict[str, Cell] = {
        "images": case[0],
        "dimension": case[1],
        "classes": case[2],
        "processes": processes,
        "n": rounds,
        "products_s": middle("products"),
        "measure_s": middle("measure"),
        "stream_s": middle("stream"),
    }
    for name in ("measure", "stream"):
        of_clock = ratios(name, 0)
        figures |= {
            f"{name}_ratio": statistics.median(of_clock),
            f"{name}_ratio_lowest": of_clock[0],
            f"{name}_ratio_highest": of_clock[-1],
            f"{name}_cpu_ratio": statistics.median(ratios(name, 1)),
        }
    return figures | {
        "inputs_mib": round(4 * case[1] * (case[0] + 2 * case[2]) / (1 << 20)),
        "products_peak_mib": round(float(in_a_process(case, "products"))),
        "measure_peak_mib": round(float(in_a_process(case, "measure"))),
    }


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--case", action="append", type=lambda text: tuple(int(x) for x in text.split(",")))
    parser.add_argument("--only", choices=("times", "products", "measure"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    cases: list[Case] = options.case or list(CASES)
    if options.only == "times":
        print(json.dumps(seconds(jobs(cases[0]), CASES.get(cases[0], (1, 5))[1])))
    elif options.only:
        work = jobs(cases[0])[options.only]
        before = peak()
        work()
        print(peak() - before)
    else:
        write(
            "p3_collapse",
            [row(case) for case in cases],
            notes=[
                "seconds and ratios are medians over processes of the medians of n rounds in which products, measure "
                "and stream took turns; goal: ratio <= 2",
                "products: features x means and x classifier in batches of 1024, Gram of means, second moment if K > d",
                "cpu ratios compare processor seconds, which a busy machine disturbs less",
                "peak: what the work adds to the peak resident memory of a process that holds the inputs",
            ],
        )


if __name__ == "__main__":
    main()
