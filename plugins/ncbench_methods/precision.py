"""Numbers that autocast would leave in half precision."""

from __future__ import annotations

import torch
from torch import Tensor


def at_least_float32(values: Tensor) -> Tensor:
    """Return values that autocast left in half precision as float32, and any others as they are."""
    return values.to(torch.promote_types(values.dtype, torch.float32))
