"""What a plugin must leave as it found it: global generators, torch's settings, folders."""

from __future__ import annotations

import contextlib
import os
import random
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch

from ncbench.conformance.subject import require


def require_unseeded(run: Callable[[int], object]) -> None:
    """Require that where the global generators end depends on where they began, and torch's settings stay.

    Args:
        run: Seeds the global generators with its argument, and then does what must not seed them.
    """
    ends = []
    with settings_kept():
        for seed in (1, 1, 2):
            run(seed)
            ends.append(generator_states())
    for name in ends[0]:
        seeded = ends[0][name] != ends[1][name] or ends[0][name] == ends[2][name]
        require(not seeded, f"{name} global generator is seeded; take a generator of your own")


@contextlib.contextmanager
def settings_kept() -> Iterator[None]:
    """Require that what else is global in torch and changes results is the same after this block as before."""
    before = _settings()
    yield
    changed = [name for name, value in _settings().items() if value != before[name]]
    require(not changed, f"torch's {' and '.join(changed)} changed")


def _settings() -> dict[str, Any]:
    return {
        "default dtype": torch.get_default_dtype(),
        "gradient mode": torch.is_grad_enabled(),
        "number of threads": torch.get_num_threads(),
        "deterministic algorithms": torch.are_deterministic_algorithms_enabled(),
    }


def generator_states() -> dict[str, Any]:
    """Return the state of every global generator by its name, in a form that can be compared."""
    _, keys, *position = np.random.get_state(legacy=True)
    return {
        "torch's": torch.get_rng_state().tolist(),
        "NumPy's": (np.asarray(keys).tolist(), position),
        "Python's": random.getstate(),
    }


@contextlib.contextmanager
def no_files_left() -> Iterator[None]:
    """Require that this block leaves nothing in the working, the home and the temporary folder."""
    with temporary_folder() as root:
        for folder in ("working", "home", "temporary"):
            (root / folder).mkdir()
        variables = {"HOME": str(root / "home"), "TMPDIR": str(root / "temporary")}
        with (
            patch.dict(os.environ, variables),
            patch.object(tempfile, "tempdir", variables["TMPDIR"]),  # the variable is looked at once in a process
            contextlib.chdir(root / "working"),
        ):
            yield
        found = [path.relative_to(root).parts for path in sorted(root.rglob("*")) if path.parent != root]
    left = [f"{Path(*rest)} in the {folder} folder" for folder, *rest in found]
    require(not left, f"it left {', '.join(left[:20])}")


@contextlib.contextmanager
def temporary_folder() -> Iterator[Path]:
    """Work with a folder that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="ncbench-conformance-") as name:
        yield Path(name)
