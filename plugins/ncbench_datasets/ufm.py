"""The samples of the unconstrained features model: numbers, and nothing to see."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from ncbench import Dataset, Parameters, Split


class UFMParameters(Parameters):
    """Parameters of :class:`UFM`."""

    classes: int = Field(10, ge=2, le=1000, description="number of classes")
    samples: int = Field(100, ge=1, le=1000, description="training samples of a class, before any imbalance")


class UFM(Dataset):
    """Samples of the unconstrained features model (Mixon, Parshall & Pi 2020; Fang et al., PNAS 2021).

    The theory has no images: a sample is a class and a feature vector that is free. Here sample i of class c has the
    number c * samples + i, and its input is that number in binary, a digit a value, the highest first. The backbone of
    the same name looks the vector up by it.

    The theory has no test set, and no vector could be learned for one. ``test`` is a training sample of each class, the
    one that an imbalance keeps whatever else it leaves out.
    """

    Parameters = UFMParameters
    folder = None
    has_val = False

    def __init__(self, params: Any, root: Path | None) -> None:
        super().__init__(params, root)
        self.digits = (params.classes * params.samples - 1).bit_length()
        self.class_names = [f"class {c}" for c in range(params.classes)]

    def source_files(self) -> Sequence[Path]:
        """Return nothing: numbers are made on the spot."""
        return ()

    def read(self) -> Mapping[str, Split]:
        """Write the numbers down."""
        numbers = range(self.params.classes * self.params.samples)
        test = [
            min(numbers[start : start + self.params.samples], key=_rank) for start in numbers[:: self.params.samples]
        ]
        return {"train": self._split(numbers), "test": self._split(test)}

    def _split(self, numbers: Sequence[int]) -> Split:
        values = np.asarray(numbers, dtype=np.int64)
        digits = values[:, None] >> np.arange(self.digits)[::-1] & 1  # (N, D)
        return Split(
            inputs=digits.astype(np.float32),
            target=values // self.params.samples,
            bias=None,
            ids=[str(number) for number in numbers],
        )


def _rank(number: int) -> str:
    """Return what an imbalance keeps the smallest of: the SHA-256 of the sample's id."""
    return hashlib.sha256(str(number).encode()).hexdigest()
