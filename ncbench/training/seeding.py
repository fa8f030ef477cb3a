"""Seeds: every epoch starts from generators that depend on the run's seed and the epoch alone.

Nothing random is carried from one epoch to the next, so a resumed run needs no generator's state to go on exactly
as an uninterrupted one.
"""

from __future__ import annotations

import random

import numpy as np
import torch

from ncbench.contracts.task import derived_seed


def seed_global_generators(seed: int, *purpose: str | int) -> None:
    """Seed Python's, NumPy's and torch's global generators, which dropout and module initialisation draw from."""
    derived = derived_seed(seed, *purpose)
    random.seed(derived)
    np.random.seed(derived % 2**32)
    if torch.accelerator.is_available():
        torch.manual_seed(derived)
    else:  # for devices that may come, that would format and keep a stack trace of each of its calls
        torch.default_generator.manual_seed(derived)
