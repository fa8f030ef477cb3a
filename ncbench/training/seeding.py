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
    torch.manual_seed(derived)
