"""P1: steady-state training epochs of `ncbench run` against a bare loop.

The bare loop has the same model, loss and optimizer, and its images lie in memory as scaled float32, so that it does
nothing but shuffle, gather, forward, backward and step. Goal: at least its rate.

    python benchmarks/p1_epochs.py --data-root DATA          (needs MNIST below DATA)
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from report import write
from torch import Tensor

import ncbench
from ncbench.contracts.specs import Spec
from ncbench.data.loading.loader import Loader
from ncbench.data.store.open import Store
from ncbench.data.store.prepare import prepare
from ncbench.discovery.registry import registry
from ncbench.training.configuration import Configuration, resolve

ROUNDS = 5
EPOCHS = 6  # a round; the first is left out, as it warms caches and allocators


def ours(dataset: str, device: str, data_root: Path | None, seed: int) -> tuple[list[float], list[float]]:
    """Return the seconds of each steady-state epoch: training alone, and with the evaluations of the default recipe."""
    with tempfile.TemporaryDirectory() as output:
        result = ncbench.run(
            "erm",
            dataset,
            seed=seed,
            # The first and the last epoch also measure collapse; they are left out.
            set={"recipe.epochs": EPOCHS + 1, "recipe.measure_points": 1},
            output=output,
            device=device,
            data_root=data_root,
        )
    steady = result.record.history[1:-1]
    return [entry.seconds["train"] for entry in steady], [sum(entry.seconds.values()) for entry in steady]


def bare(configuration: Configuration, store: Store, device: torch.device, seed: int) -> list[float]:
    """Return the seconds of each steady-state epoch of the bare loop."""
    recipe, split = configuration.recipe, store.splits["train"]
    torch.manual_seed(seed)
    images = scaled_images(configuration, store, device)  # (N, C, H, W) float32
    target = torch.as_tensor(split.target, device=device)
    backbone = configuration.make_backbone(tuple(images.shape[1:]))()
    model = torch.nn.Sequential(backbone, torch.nn.Linear(backbone.feature_dim, len(store.class_names))).to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=recipe.lr, weight_decay=recipe.weight_decay, fused=True)
    seconds = []
    for _ in range(EPOCHS):
        started = time.perf_counter()
        order = torch.randperm(len(target), device=device)
        for begin in range(0, len(order), recipe.batch_size):
            index = order[begin : begin + recipe.batch_size]
            loss = F.cross_entropy(model(images[index]), target[index])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
        loss.item()  # waits for the device
        seconds.append(time.perf_counter() - started)
    return seconds[1:]


def scaled_images(configuration: Configuration, store: Store, device: torch.device) -> Tensor:
    """Return the training images as the run's loader scales them."""
    manifest = configuration.manifest
    loader = Loader(
        store.splits["train"],
        device,
        input_scaling=configuration.recipe.input_scaling,
        augmentation="none",
        mean=manifest.channel_mean,
        std=manifest.channel_std,
    )
    order = torch.arange(len(store.splits["train"]))
    return torch.cat([images.clone() for images, _ in loader.batches(order, 1024, None)])


def median_rates(measure: Callable[[int], tuple[list[float], ...]]) -> list[float]:
    """Return the median epoch seconds of each series `measure` returns, over all rounds."""
    series = zip(*(measure(round_) for round_ in range(ROUNDS)), strict=True)
    return [statistics.median(second for seconds in rounds for second in seconds) for rounds in series]


def main() -> None:
    """Measure both loops in turn, print and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", type=Path)
    parser.add_argument("--dataset", default="colored_mnist")
    arguments = parser.parse_args()

    device = torch.device("cpu")
    configuration = resolve("erm", arguments.dataset, None, 0, {"recipe.epochs": EPOCHS}, synthetic=False)
    card = registry().find("datasets", Spec.parse(arguments.dataset).name).card
    store = prepare(card, configuration.dataset.params, data_root=arguments.data_root)

    def one_round(seed: int) -> tuple[list[float], ...]:
        reference = bare(configuration, store, device, seed)
        return (reference, *ours(arguments.dataset, "cpu", arguments.data_root, seed))

    reference, training, whole = median_rates(one_round)
    rows = [
        {"what": "bare loop", "median_epoch_seconds": round(reference, 4), "rate_to_bare": 1.0},
        {
            "what": "ncbench run, training",
            "median_epoch_seconds": round(training, 4),
            "rate_to_bare": round(reference / training, 3),
        },
        {
            "what": "ncbench run, training and evaluation of test after every epoch",
            "median_epoch_seconds": round(whole, 4),
            "rate_to_bare": round(reference / whole, 3),
        },
    ]
    notes = [f"{arguments.dataset}, mlp, CPU; median over {ROUNDS} rounds of {EPOCHS - 1} epochs in turn; goal >= 1"]
    write("p1_epochs", rows, notes=notes)


if __name__ == "__main__":
    main()
