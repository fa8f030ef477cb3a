"""A program: train every built-in method for one epoch a stage, as one of the processes of ``WORLD_SIZE``.

``python -m tests.training.every_method DEVICES FILE`` writes to FILE what each has learned, name -> ``state_dict``.

All is computed in float64. In float32 a method that takes the logarithm of a small difference, or asks whether an
activation is above 0, can turn the last digit of a sum into the third of a weight, on one processor and not on another.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

from ncbench import Method
from ncbench.contracts.method import Stage
from ncbench.data.loading.loader import Loader
from ncbench.data.store.open import Store
from ncbench.data.store.prepare import prepare
from ncbench.discovery.registry import registry
from ncbench.geometry import Hierarchy
from ncbench.training.configuration import Configuration, resolve
from ncbench.training.devices.ranks import Ranks, join
from ncbench.training.devices.split import splitting
from ncbench.training.evaluation.evaluator import Evaluator
from ncbench.training.interrupts import Interrupts
from ncbench.training.loop import RunState, fit, make_method
from ncbench.training.recipe import Recipe
from ncbench.training.reporters import Silent
from ncbench.training.splits import load_splits, task_of

DATASET = "colored_digits:per_class=25,val=0.1"
# Neither 83 images nor the 59 of the last batch can be shared out equally.
RECIPE = Recipe(epochs=1, batch_size=83, optimizer="sgd", lr=0.01, input_scaling="unit", measure_points=1)


def names() -> list[str]:
    """The built-in methods, and ways to infer groups, that train."""
    return [
        name
        for kind in ("methods", "groups")
        for name, (found, *_) in sorted(registry().cards[kind].items())
        if found.plugin.distribution == "ncbench" and found.card.trains
    ]


def main(devices: int, file: Path) -> None:
    """Train all."""
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    ranks, learned = join(devices, "cpu"), {}
    store: Store | None = None
    for name in names():
        kind: Any = "methods" if name in registry().cards["methods"] else "groups"
        configuration = resolve(name, DATASET, "mlp", 0, {}, synthetic=False, kind=kind)
        store = store or ranks.follow(lambda found=configuration: _store(found))
        learned[name] = train(configuration, store, ranks).state_dict()
    if ranks.first:
        torch.save(learned, file)


def train(configuration: Configuration, store: Store, ranks: Ranks) -> Method:
    """Train one method, and the one that it builds on before it."""
    base = None if configuration.base is None else train(configuration.base, store, ranks).eval()
    chosen, task = configuration.method, task_of(store, 0, configuration.supervision, None)

    class Shortened(chosen.factory):  # type: ignore[misc, name-defined]
        def stages(self, epochs: int) -> list[Stage]:
            return [replace(stage, epochs=min(stage.epochs, 1)) for stage in super().stages(epochs)]

        def classify(self, features: Tensor) -> Tensor:
            return super().classify(features.double())  # the evaluation's are float32

    make_backbone = splitting(configuration.make_backbone(task.input_shape), ranks)
    method = make_method(Shortened, chosen.name, chosen.params, task, make_backbone).double()
    splits = load_splits(store, RECIPE, (), (), torch.device("cpu"), torch.contiguous_format, None)
    with TemporaryDirectory() as folder:
        return fit(
            method,
            {name: replace(split, loader=InFloat64(split.loader)) for name, split in splits.items()},
            RECIPE,
            Evaluator(store, {}, 256, None),
            RunState(),
            checkpoints=Path(folder),
            checkpoint_seconds=float("inf"),
            resume=False,
            reporter=Silent(),
            interrupts=Interrupts(lambda message: None, held=not ranks.first),
            base=base,
            ranks=ranks,
        ).method


class InFloat64(Loader):
    """A loader whose images are float64."""

    def __init__(self, loader: Loader) -> None:
        self.__dict__ = vars(loader)

    def batches(self, *arguments: Any, **options: Any) -> Iterator[tuple[Tensor, Tensor]]:
        """Pass over them as the loader does."""
        for images, index in super().batches(*arguments, **options):
            yield images.double(), index


def _store(configuration: Configuration) -> Store:
    """Return the digits, with a hierarchy for the methods that need one: odd and even."""
    store = prepare(configuration.dataset.registered.card, configuration.dataset.params)
    names = store.class_names
    return replace(
        store, hierarchy=Hierarchy.from_categories([(name, "odd" if k % 2 else "even") for k, name in enumerate(names)])
    )


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
