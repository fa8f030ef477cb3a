"""What a plugin must leave as it found it: global generators, torch's settings, folders."""

from __future__ import annotations

import contextlib
import os
import random
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch


@contextlib.contextmanager
def isolated() -> Iterator[None]:
    """Run on one thread, as tiny tensors want, and put generators and settings back afterwards."""
    before = random.getstate(), np.random.get_state(), torch.get_rng_state()
    dtype, threads = torch.get_default_dtype(), torch.get_num_threads()
    deterministic = torch.are_deterministic_algorithms_enabled()
    torch.set_num_threads(1)
    try:
        with torch.set_grad_enabled(True):
            yield
    finally:
        torch.set_num_threads(threads)
        torch.set_default_dtype(dtype)
        torch.use_deterministic_algorithms(deterministic)
        random.setstate(before[0])
        np.random.set_state(before[1])
        torch.set_rng_state(before[2])


def generator_states() -> dict[str, Any]:
    """Return the state of every global generator by its name, in a form that can be compared."""
    _, keys, *position = np.random.get_state(legacy=True)
    return {
        "torch's": torch.get_rng_state().tolist(),
        "NumPy's": (np.asarray(keys).tolist(), position),
        "Python's": random.getstate(),
    }


def torch_settings() -> dict[str, Any]:
    """Return what else is global in torch and changes results."""
    return {
        "default dtype": torch.get_default_dtype(),
        "gradient mode": torch.is_grad_enabled(),
        "number of threads": torch.get_num_threads(),
        "deterministic algorithms": torch.are_deterministic_algorithms_enabled(),
    }


@contextlib.contextmanager
def watched_folders() -> Iterator[list[str]]:
    """Work in an empty working, home and temporary folder.

    Yields:
        A list that holds, once the block has ended, what was left in them.
    """
    left: list[str] = []
    with tempfile.TemporaryDirectory(prefix="ncbench-conformance-") as name:
        root = Path(name)
        for folder in ("working", "home", "temporary"):
            (root / folder).mkdir()
        variables = {"HOME": str(root / "home"), "TMPDIR": str(root / "temporary")}
        with (
            patch.dict(os.environ, variables),
            patch.object(tempfile, "tempdir", variables["TMPDIR"]),  # the variable is looked at once in a process
            contextlib.chdir(root / "working"),
        ):
            yield left
        for path in sorted(root.rglob("*")):
            if path.parent != root:
                folder, *rest = path.relative_to(root).parts
                left.append(f"{Path(*rest)} in the {folder} folder")
