"""P7: training fed by the streaming and by the resident loader, against the same training on one fixed batch.

Images are random, 224 px, augmented by resized crops and flips on the device; the net is a ResNet-50 in bfloat16 on a
GPU. The fixed batch lies on the device, augmented once: the loaders have all their work on top. Goal: at least 0.95.

    python benchmarks/p7_loader.py [--device cuda] [--images N] [--batch N] [--backbone resnet50]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from report import write

from ncbench.contracts.specs import Spec
from ncbench.data.loading.loader import Loader
from ncbench.data.store.open import StoredSplit
from ncbench.discovery.registry import registry

SIZE, CLASSES, ROUNDS = 224, 10, 5
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def stored(folder: Path, number: int) -> StoredSplit:
    """Write random images as a store does, and map them."""
    path = folder / "inputs.npy"
    images = np.lib.format.open_memmap(path, "w+", np.uint8, (number, SIZE, SIZE, 3))
    generator = np.random.default_rng(0)
    for start in range(0, number, 256):
        part = images[start : start + 256]
        part[:] = generator.integers(0, 256, part.shape, dtype=np.uint8)
    images.flush()
    target = generator.integers(0, CLASSES, number)
    return StoredSplit(np.load(path, mmap_mode="r"), target, None, ids=np.arange(number).astype(np.str_))


def make_step(backbone: str, device: torch.device) -> Callable[[torch.Tensor, torch.Tensor], None]:
    """Return one training step: forward in bfloat16 on a GPU, backward, SGD."""
    spec = Spec.parse(backbone)
    kind = registry().find("backbones", spec.name).card.load()
    net = kind((3, SIZE, SIZE), kind.Parameters.build(spec.parameters, owner=spec.name))
    model = torch.nn.Sequential(net, torch.nn.Linear(net.feature_dim, CLASSES)).to(device)
    model.to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(model.parameters(), 0.01, momentum=0.9, fused=True)

    def step(images: torch.Tensor, target: torch.Tensor) -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            loss = F.cross_entropy(model(images).float(), target)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    return step


def rate(
    batches: Iterable[tuple[torch.Tensor, torch.Tensor]],
    step: Callable[[torch.Tensor, torch.Tensor], None],
    target: torch.Tensor,
) -> float:
    """Return the images a second of training on all batches."""
    seen, started = 0, time.perf_counter()
    for images, index in batches:
        step(images, target[index])
        seen += len(index)
    if target.is_cuda:
        torch.cuda.synchronize()
    return seen / (time.perf_counter() - started)


def main() -> None:
    """Measure, print and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--images", type=int, default=12_800)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--backbone", default="resnet50")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    step = make_step(arguments.backbone, device)

    with tempfile.TemporaryDirectory() as folder:
        split = stored(Path(folder), arguments.images)
        target = torch.as_tensor(split.target, device=device)

        def loader(resident: bool) -> Loader:
            return Loader(
                split, device, "standard", "resized_crop_flip", MEAN, STD, channels_last=True, resident=resident
            )

        loaders = {"streaming": loader(resident=False), "resident": loader(resident=True)}
        order = torch.randperm(arguments.images)
        generator = torch.Generator(device).manual_seed(0)
        (fixed, index), *_ = loaders["resident"].batches(order[: arguments.batch], arguments.batch, generator)
        steps = arguments.images // arguments.batch

        rates: dict[str, list[float]] = {"fixed batch": [], **{name: [] for name in loaders}}
        for round_ in range(ROUNDS + 1):
            measured = {"fixed batch": rate([(fixed, index)] * steps, step, target)}
            for name, one in loaders.items():
                measured[name] = rate(one.batches(order, arguments.batch, generator), step, target)
            if round_:  # the first warms caches, kernels and the page cache
                for name, value in measured.items():
                    rates[name].append(value)
    medians = {name: statistics.median(values) for name, values in rates.items()}
    rows = [
        {"what": name, "images_per_second": round(value, 1), "rate_to_fixed": round(value / medians["fixed batch"], 3)}
        for name, value in medians.items()
    ]
    notes = [
        f"{arguments.backbone}, {arguments.images} images of {SIZE} px, batches of {arguments.batch}, {device}",
        f"median of {ROUNDS} rounds in turn; the loaders augment every batch, the fixed batch is augmented once",
    ]
    write("p7_loader", rows, notes=[*notes, "goal on a GPU: at least 0.95"])


if __name__ == "__main__":
    main()
