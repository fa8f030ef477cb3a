"""P13: peak memory of evaluating a training split and measuring its collapse, whatever the number of images.

    python benchmarks/p13_memory.py [--case N,d,K]...

The runner's own evaluator passes over a split whose features are made as they are asked for, and computes the group,
collapse and frame families and the snapshot for pictures. Reference: the accumulators that no method avoids, K d + d^2
numbers in float64. Held in memory, the features alone would be N d numbers in float32. Each case runs in a process of
its own; the figure is what the work adds to the peak of that process, measured once everything is imported.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from report import Cell, write

from ncbench.discovery.registry import registry
from ncbench.features.snapshot import take_snapshot
from ncbench.geometry import Hierarchy
from ncbench.training.evaluation.evaluator import EvaluatedSplit, Evaluator

Case = tuple[int, int, int]  # images, dimension, classes

CASES: tuple[Case, ...] = ((20_000, 2048, 1000), (160_000, 2048, 1000))
BATCH = 512
NUM_BIAS = 10
FULL: Case = (1_280_000, 2048, 1000)


@dataclass
class Network:
    """A model whose images are their own features, and whose classifier is the class means."""

    weight: torch.Tensor  # (K, d)
    bias: torch.Tensor = field(init=False)

    def __post_init__(self) -> None:
        self.bias = torch.zeros(len(self.weight))

    def eval(self) -> None:
        """Change nothing: there is one mode."""

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """Return the images."""
        return images

    def classify(self, features: torch.Tensor) -> torch.Tensor:
        """Return the logits (n, K)."""
        return torch.nn.functional.linear(features, self.weight, self.bias)

    def classifier_parameters(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return weight and bias."""
        return self.weight, self.bias


@dataclass
class Made:
    """A loader that makes each batch when it is asked for: the class mean and noise, the same at every pass."""

    means: torch.Tensor  # (K, d)
    target: torch.Tensor  # (N,)

    def batches(self, order: torch.Tensor, size: int, _: object) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield (features, positions) of the images at `order`."""
        for index in order.split(size):
            noise = torch.Generator().manual_seed(int(index[0]))
            features = torch.randn(len(index), self.means.shape[1], generator=noise)
            yield features.add_(self.means[self.target[index]]), index


def peak() -> float:
    """Peak resident memory of this process so far, MiB."""
    status = Path("/proc/self/status")
    if status.exists():  # ru_maxrss would count the parent this process was forked from
        return float(status.read_text(encoding="utf-8").partition("VmHWM:")[2].split()[0]) / (1 << 10)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 10)


def evaluate(case: Case) -> dict[str, float]:
    """Evaluate and measure; return seconds, the growth of the peak in MiB, and how many numbers came out."""
    images, dim, classes = case
    generator = torch.Generator().manual_seed(0)
    means = torch.randn(classes, dim, generator=generator)
    target = torch.cat([torch.arange(classes), torch.randint(classes, (images - classes,), generator=generator)])
    bias = torch.randint(NUM_BIAS, (images,), generator=generator)
    names = [f"class{number}" for number in range(classes)]
    store: Any = SimpleNamespace(
        class_names=names,
        bias_names=[f"value{number}" for number in range(NUM_BIAS)],
        splits={"train": SimpleNamespace(target=target.numpy(), bias=bias.numpy())},
        aligned_bias=np.arange(classes) % NUM_BIAS,
        hierarchy=Hierarchy.from_categories([(name, f"kind{number // 50}") for number, name in enumerate(names)]),
    )
    families = {name: registry().find("metrics", name).card.load()() for name in ("group", "collapse", "frame")}
    loader: Any = Made(means, target)
    split, network = EvaluatedSplit("train", loader, target, bias), Network(means.clone())
    method: Any = network
    evaluator = Evaluator(store, families, BATCH, None)
    small = torch.ones(BATCH, dim) @ means.T  # the libraries' own buffers are not ours
    torch.linalg.eigh(small[:64, :64] + small[:64, :64].T)

    before, started = peak(), time.perf_counter()
    evaluation = evaluator.look(method, split, scheduled=True)
    numbers = evaluator.measure(evaluation, scheduled=True).metrics
    take_snapshot(evaluation)
    return {"seconds": time.perf_counter() - started, "peak": peak() - before, "numbers": len(numbers)}


def row(case: Case) -> dict[str, Cell]:
    """The figures of one case, from a process of its own."""
    images, dim, classes = case
    arguments = [sys.executable, __file__, "--only", "--case", ",".join(map(str, case))]
    found = json.loads(subprocess.run(arguments, check=True, capture_output=True, text=True).stdout)
    accumulators = 8 * (classes * dim + dim**2) / (1 << 20)
    return {
        "images": images,
        "dimension": dim,
        "classes": classes,
        "n": 1,
        "metrics": found["numbers"],
        "seconds": found["seconds"],
        "peak_mib": found["peak"],
        "accumulators_mib": accumulators,
        "above_mib": found["peak"] - accumulators,
        "features_mib": round(4 * images * dim / (1 << 20)),
    }


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--case", action="append", type=lambda text: tuple(int(x) for x in text.split(",")))
    parser.add_argument("--only", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    cases: list[Case] = options.case or list(CASES)
    if options.only:
        print(json.dumps(evaluate(cases[0])))
        return
    write(
        "p13_memory",
        [row(case) for case in cases],
        notes=[
            f"peak: what evaluating and measuring adds to the peak of the process; goal at {FULL}: <= 1024 MiB above "
            "the accumulators, K d + d^2 numbers in float64",
            "of the peak, some 40 bytes an image (labels, predictions, counting) grow with the images, the rest does "
            "not: features of more than 256 MiB are computed a second time, not held",
            "the case of 1,280,000 images is run with --case 1280000,2048,1000",
        ],
    )


if __name__ == "__main__":
    main()
