"""What a method sees of the data: the task, batches and splits, each without the labels it did not declare."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ncbench.contracts.cards import Supervision
from ncbench.contracts.errors import SupervisionError

if TYPE_CHECKING:
    from ncbench.geometry import Hierarchy


@dataclass(frozen=True, eq=False)
class Task:
    """The classification problem, as one method may see it.

    Args:
        num_classes: K.
        num_bias: B, how many values the bias attribute has; 0 if it is unknown everywhere.
        class_names: K names.
        bias_names: B names.
        input_shape: (C, H, W) of one image, or (D,) of one feature vector.
        num_train: N, the number of training images.
        class_counts: (K,) int64, training images a class, on the CPU.
        seed: The run's seed; draw from :meth:`generator`.
        bias_known_on_train: Whether training images carry a bias attribute at all. A fact of the dataset,
            not a label: any method may read it.
        supervision: What the method declared.
    """

    num_classes: int
    num_bias: int
    class_names: Sequence[str]
    bias_names: Sequence[str]
    input_shape: tuple[int, ...]
    num_train: int
    class_counts: Tensor
    seed: int
    bias_known_on_train: bool
    supervision: Supervision
    _group_counts: Tensor | None = field(default=None, repr=False)
    _hierarchy: Hierarchy | None = field(default=None, repr=False)

    @property
    def image_shape(self) -> tuple[int, ...]:
        """The same as `input_shape`, which was called so before there were feature vectors."""
        return self.input_shape

    @property
    def group_counts(self) -> Tensor:
        """(K, B) int64, training images of each group (y, a), on the CPU.

        Raises:
            SupervisionError: The method did not declare ``train="bias"``, or the attribute is unknown.
        """
        if self.supervision.train != "bias":
            raise SupervisionError(_undeclared("the group counts", "Supervision(train='bias')"))
        if self._group_counts is None:
            raise SupervisionError("The bias attribute of the training images is unknown for this dataset.")
        return self._group_counts

    @property
    def hierarchy(self) -> Hierarchy:
        """The class hierarchy.

        Raises:
            SupervisionError: The method did not declare ``hierarchy=True``, or the dataset has none.
        """
        if not self.supervision.hierarchy:
            raise SupervisionError(_undeclared("the hierarchy", "Supervision(hierarchy=True)"))
        if self._hierarchy is None:
            raise SupervisionError("This dataset has no class hierarchy.")
        return self._hierarchy

    def generator(self, purpose: str) -> torch.Generator:
        """Return a CPU generator seeded by the run's seed and `purpose`, so that draws don't depend on their order."""
        return seeded_generator(self.seed, purpose)


def seeded_generator(seed: int, *purpose: str | int) -> torch.Generator:
    """Return a CPU generator whose stream depends on the seed and on every part of `purpose`."""
    return torch.Generator().manual_seed(derived_seed(seed, *purpose))


def derived_seed(seed: int, *purpose: str | int) -> int:
    """Return a 63-bit seed that depends on `seed` and on every part of `purpose`."""
    digest = hashlib.sha256(repr((seed, *purpose)).encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


@dataclass(frozen=True, eq=False)
class Batch:
    """A batch as the method sees it, on the run's device.

    Args:
        images: (N, C, H, W) float32, scaled by the recipe; or (N, D) float32 feature vectors, as they are.
        target: (N,) int64, the class y.
        index: (N,) int64, position of each image in its split.
    """

    images: Tensor
    target: Tensor
    index: Tensor
    _bias: Tensor | None = field(default=None, repr=False)
    _withheld: str = field(default="", repr=False)

    @property
    def bias(self) -> Tensor:
        """(N,) int64, the bias attribute a.

        Raises:
            SupervisionError: The method did not declare it, or the dataset does not know it.
        """
        if self._bias is None:
            raise SupervisionError(self._withheld)
        return self._bias

    def __len__(self) -> int:
        return len(self.target)


@dataclass(frozen=True, eq=False)
class SplitView:
    """A whole split as the method sees it: its labels at once, its images in passes.

    Args:
        name: ``"train"`` or ``"val"``.
        target: (N,) int64, the class y, on the run's device.
    """

    name: str
    target: Tensor
    _batches: Callable[[], Iterator[Batch]] = field(repr=False)
    _bias: Tensor | None = field(default=None, repr=False)
    _withheld: str = field(default="", repr=False)

    @property
    def bias(self) -> Tensor:
        """(N,) int64, the bias attribute a.

        Raises:
            SupervisionError: The method did not declare it for this split, or the dataset does not know it.
        """
        if self._bias is None:
            raise SupervisionError(self._withheld)
        return self._bias

    def __len__(self) -> int:
        return len(self.target)

    def batch(self, images: Tensor, index: Tensor) -> Batch:
        """Return images of the split with their labels.

        Args:
            images: (N, C, H, W).
            index: (N,) int64, their positions in the split.
        """
        bias = None if self._bias is None else self._bias[index]
        return Batch(images, self.target[index], index, bias, self._withheld)

    def batches(self) -> Iterator[Batch]:
        """Pass over the split once, in order, without augmentation."""
        return self._batches()


def withheld(split: str, supervision: Supervision, known: bool) -> str:
    """Return why the bias attribute of a split is withheld from a method, or "" if it is handed over.

    Args:
        split: ``"train"`` or ``"val"``.
        supervision: What the method declared.
        known: Whether the dataset knows the attribute on this split.
    """
    if (supervision.train if split == "train" else supervision.val) != "bias":
        return _undeclared(f"the bias attribute of {split} images", f"Supervision({split}='bias')")
    if not known:
        return f"The bias attribute of {split} images is unknown for this dataset."
    return ""


def _undeclared(what: str, declaration: str) -> str:
    return f"The method read {what} without declaring it; declare {declaration} on its card."
