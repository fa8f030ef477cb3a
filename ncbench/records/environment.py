"""What a run was made with: versions, the machine, the precision; and how long it took."""

from __future__ import annotations

import contextlib
import platform
import statistics
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

import ncbench


def environment(precision: str, device: torch.device, devices: int, draws: bool) -> dict[str, Any]:
    """Return the entry that the record keeps.

    Args:
        precision: Name of the dtype of most of the work, as in ``"bfloat16"``.
        device: Where the run is.
        devices: How many of them it is on.
        draws: Whether its backbones draw random numbers on each of several devices for itself.
    """
    return {
        "ncbench": ncbench.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": metadata.version("torchvision"),
        "numpy": metadata.version("numpy"),
        "platform": platform.platform(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else (_processor() or device.type),
        "devices": devices,
        "threads": torch.get_num_threads(),
        "precision": precision,
        **({"dropout": "drawn by each device, not as on one"} if draws else {}),
    }


def timing(history: list[dict[str, Any]], prepare_seconds: float, device: torch.device) -> dict[str, float]:
    """Return how long a run took, and the most memory that its device held.

    Args:
        history: An entry an epoch, as in the record.
        prepare_seconds: How long it took to prepare the data.
        device: Where the run is.
    """
    train = [entry["seconds"].get("train", 0.0) for entry in history]
    evaluate = [entry["seconds"].get("evaluate", 0.0) for entry in history]
    found = {
        "prepare_seconds": prepare_seconds,
        "train_seconds": sum(train),
        "evaluate_seconds": sum(evaluate),
        "median_epoch_train_seconds": statistics.median(train) if train else 0.0,
    }
    if device.type == "cuda":
        found["peak_device_bytes"] = float(torch.cuda.max_memory_allocated(device))
    return found


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()
