"""P2: one epoch of shortcut_prime on colored_mnist against the way published code does it.

The reference has the same mathematics with two forward passes, and a per-sample DataLoader with four workers.
Goal: at least ten times faster.

    python benchmarks/p2_shortcut_prime.py --data-root DATA          (needs MNIST below DATA)
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import Image
from report import write
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms.functional import to_tensor

import ncbench
from ncbench.contracts.specs import Spec
from ncbench.data.store.open import StoredSplit
from ncbench.data.store.prepare import prepare
from ncbench.discovery.registry import registry
from ncbench.geometry import simplex_etf
from ncbench.training.configuration import Configuration, resolve

EPOCHS = 6
WORKERS = 4
DATASET = "colored_mnist"


class PerSample(Dataset):  # type: ignore[type-arg]
    """One image at a time, as a torchvision-style dataset serves them."""

    def __init__(self, split: StoredSplit) -> None:
        self.split = split

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int, int]:
        image = to_tensor(Image.fromarray(self.split.inputs[index]))
        return image / 255, int(self.split.target[index]), int(self.split.bias[index])


def two_passes(configuration: Configuration, split: StoredSplit) -> list[float]:
    """Return the seconds of each epoch of the reference."""
    torch.manual_seed(0)
    recipe, clean_weight = configuration.recipe, configuration.method.params.clean_weight
    backbone = configuration.make_backbone((3, 28, 28))()
    classifier = torch.nn.Linear(2 * backbone.feature_dim, 10, bias=False)
    primes = simplex_etf(10, backbone.feature_dim)
    parameters = [*backbone.parameters(), *classifier.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=recipe.lr, weight_decay=recipe.weight_decay)
    loader = DataLoader(PerSample(split), recipe.batch_size, shuffle=True, num_workers=WORKERS)
    seconds = []
    for _ in range(EPOCHS):
        started = time.perf_counter()
        for images, target, bias in loader:
            primed = classifier(torch.cat([backbone(images), primes[bias]], dim=1))
            features = backbone(images)
            clean = classifier(torch.cat([features, torch.zeros_like(features)], dim=1))
            loss = F.cross_entropy(primed, target) + clean_weight * F.cross_entropy(primed - clean, bias)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        seconds.append(time.perf_counter() - started)
    return seconds


def main() -> None:
    """Measure both, print and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", type=Path)
    data_root = parser.parse_args().data_root

    configuration = resolve("shortcut_prime", DATASET, None, 0, {}, synthetic=False)
    card = registry().find("datasets", Spec.parse(DATASET).name).card
    store = prepare(card, configuration.dataset.params, data_root=data_root)
    with tempfile.TemporaryDirectory() as output:
        result = ncbench.run(
            "shortcut_prime", DATASET, set={"recipe.epochs": EPOCHS}, output=output, device="cpu", data_root=data_root
        )
    ours = statistics.median(entry.seconds["train"] for entry in result.record.history)
    reference = statistics.median(two_passes(configuration, store.splits["train"]))
    rows = [
        {"what": f"two passes, DataLoader with {WORKERS} workers", "median_epoch_seconds": round(reference, 3)},
        {
            "what": "ncbench run, one pass",
            "median_epoch_seconds": round(ours, 3),
            "times_faster": round(reference / ours, 2),
        },
    ]
    write("p2_shortcut_prime", rows, notes=[f"{DATASET}, mlp, CPU; median of {EPOCHS} epochs; goal >= 10x"])


if __name__ == "__main__":
    main()
