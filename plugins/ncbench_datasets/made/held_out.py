"""Training sources held out for validation: one rule for every dataset that is given its bias.

Which sources: of each stratum, a class or a group, the share whose names have the smallest SHA-256, a random choice
that is made once and for all. It depends on the names alone: it is the same on every machine and for every seed of
training, and what a smaller share holds out is a part of what a larger one does.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import numpy as np
import pydantic
from pydantic import Field
from pydantic_core import PydanticCustomError

from ncbench import ConfigurationError, Dataset, Split


def _needs_val(bias: str, info: pydantic.ValidationInfo) -> str:
    if bias != "same" and not info.data.get("val", True):
        raise PydanticCustomError("val_bias", "there is no validation split: put val=0.1 beside it")
    return bias


ValShare = Annotated[
    float, Field(ge=0, lt=1, description="share of each class's training images held out for validation; 0 for none")
]
ValBias = Annotated[
    Literal["same", "uniform"],
    pydantic.AfterValidator(_needs_val),
    Field(
        description="bias of the validation images: the conflict ratio of training, or every value equally likely "
        "given the class; who selects by the latter has used bias labels"
    ),
]
"""The parameters `val` and `val_bias`, in this order."""


class HoldsOut(Dataset):
    """A dataset whose validation split is a share of its training sources, by the parameters `val` and `val_bias`."""

    @property
    def has_val(self) -> bool:
        """Whether a share of the training images is held out."""
        return bool(self.params.val)

    @classmethod
    def val_uses_bias(cls, params: Any) -> bool:
        """Whether the validation images have every value of the bias with equal chance."""
        return bool(params.val_bias == "uniform")


def draw(names: Sequence[str], purpose: str) -> np.ndarray:
    """Return the (N,) positions of names in a random order that follows from the names and the purpose alone."""
    return np.array(sorted(range(len(names)), key=lambda i: hashlib.sha256(f"{purpose} {names[i]}".encode()).digest()))


def hold_out(names: Sequence[str], strata: np.ndarray, share: float, purpose: str = "val") -> np.ndarray:
    """Draw a share of the sources of each stratum.

    Args:
        names: N names, unique.
        strata: (N,) int64, what each belongs to.
        share: In [0, 1).
        purpose: Of the draw; another one draws others.

    Returns:
        (N,) bool. Of a stratum of n sources, ``floor(n * share + 1/2)`` are held out.
    """
    held = np.zeros(len(names), dtype=bool)
    order = draw(names, purpose) if share else np.arange(0)
    for stratum in np.unique(strata[order]):
        members = order[strata[order] == stratum]
        held[members[: _number(len(members), share)]] = True
    return held


def refuse_share(share: float, sizes: Mapping[str, int], least: int = 1) -> None:
    """Refuse a share that leaves too few images on one of the sides.

    Args:
        share: In [0, 1).
        sizes: Training images of each stratum, by what it is called; one that has none is no fault of the share.
        least: Validation images that each needs.

    Raises:
        ConfigurationError: One gets fewer, or none is left of it to train on; the message says which shares work.
    """
    for name, size in sizes.items():
        held = _number(size, share)
        if share == 0 or size == 0 or least <= held < size:
            continue
        smallest = min(filter(None, sizes.values()))
        low, high = math.ceil((least - 0.5) / smallest * 1e4), math.ceil((smallest - 0.5) / smallest * 1e4) - 1
        raise ConfigurationError(
            f"val={share:g} holds out {held} of {size} training images of {name!r}, "
            f"{f'fewer than {least}' if held < least else 'which leaves none to train on'}: "
            f"{f'a share from {low / 1e4:g} to {high / 1e4:g} works' if low <= high else 'they are too few'}."
        )


def _number(size: int, share: float) -> int:
    return math.floor(size * share + 0.5)


def parted(split: Split, held: np.ndarray) -> Mapping[str, Split]:
    """Return ``"train"`` and, unless nothing is held out, ``"val"``, of a split whose inputs are an array."""
    return {"train": rows_of(split, ~held), "val": rows_of(split, held)} if held.any() else {"train": split}


def rows_of(split: Split, mine: np.ndarray) -> Split:
    """Return some images of a split whose inputs are an array.

    Args:
        split: N images.
        mine: (N,) bool, or positions in the order that is wanted.
    """
    rows = np.arange(len(split.target))[mine]
    return Split(
        inputs=np.asarray(split.inputs)[rows],
        target=split.target[rows],
        bias=None if split.bias is None else split.bias[rows],
        ids=[split.ids[row] for row in rows.tolist()],
    )
