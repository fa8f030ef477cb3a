"""What a run was made with: versions, the machine, the precision."""

from __future__ import annotations

import contextlib
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

import ncbench


def environment(precision: str, device: torch.device) -> dict[str, Any]:
    """Return the entry that the record keeps.

    Args:
        precision: Name of the dtype of most of the work, as in ``"bfloat16"``.
        device: Where the run is.
    """
    return {
        "ncbench": ncbench.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": metadata.version("torchvision"),
        "numpy": metadata.version("numpy"),
        "platform": platform.platform(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else (_processor() or device.type),
        "threads": torch.get_num_threads(),
        "precision": precision,
    }


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()
