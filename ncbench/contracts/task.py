"""What a method sees of the data: the task, batches and splits, each without the labels it did not declare."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from ncbench.contracts.cards import LabelUse, Supervision
from ncbench.contracts.errors import PluginError, SupervisionError

if TYPE_CHECKING:
    from ncbench.geometry import Hierarchy


@dataclass(frozen=True, eq=False)
class Task:
    """The classification problem, as one method may see it; made by :meth:`of`.

    What is known of the labels is a fact of the dataset, not a label: any method may read it.

    Args:
        class_names: K names.
        bias_names: B names.
        input_shape: (C, H, W) of one image, or (D,) of one feature vector.
        num_train: N, the number of training images.
        class_counts: (K,) int64, training images a class, on the CPU.
        seed: The run's seed; draw from :meth:`generator`.
        has_val: Whether there is a validation split.
        bias_known_on_train: Whether training images carry a bias attribute at all.
        bias_known_on_val: Whether validation images do; False without a validation split.
        has_hierarchy: Whether the classes have a hierarchy.
        supervision: What the method declared.
    """

    class_names: Sequence[str]
    bias_names: Sequence[str]
    input_shape: tuple[int, ...]
    num_train: int
    class_counts: Tensor
    seed: int
    has_val: bool
    bias_known_on_train: bool
    bias_known_on_val: bool
    has_hierarchy: bool
    supervision: Supervision
    _group_counts: Tensor | None = field(default=None, repr=False)
    _val_group_counts: Tensor | None = field(default=None, repr=False)
    _hierarchy: Hierarchy | None = field(default=None, repr=False)

    @classmethod
    def of(
        cls,
        labels: Mapping[str, tuple[Tensor, Tensor | None]],
        *,
        class_names: Sequence[str],
        bias_names: Sequence[str],
        input_shape: tuple[int, ...],
        hierarchy: Hierarchy | None,
        seed: int,
        supervision: Supervision,
    ) -> Task:
        """Return the task of a dataset, without what `supervision` does not declare.

        Args:
            labels: Split name -> target (N,) int64 and bias (N,) int64, or None where the attribute is unknown;
                ``"train"`` and, where there is one, ``"val"``.
            hierarchy: Of the classes, or None.

        The others are the task's own; `bias_names` is empty if the attribute is unknown everywhere.
        """
        target, bias = labels["train"]
        target = target.cpu()
        num_classes, num_bias = len(class_names), len(bias_names)

        def counted(split: str, use: LabelUse) -> Tensor | None:
            target, bias = labels.get(split, (None, None))
            if target is None or bias is None or use != "bias":
                return None
            cells = torch.bincount(target.cpu() * num_bias + bias.cpu(), minlength=num_classes * num_bias)
            return cells.reshape(num_classes, num_bias)

        return cls(
            class_names=tuple(class_names),
            bias_names=tuple(bias_names),
            input_shape=input_shape,
            num_train=len(target),
            class_counts=torch.bincount(target, minlength=num_classes),
            seed=seed,
            has_val="val" in labels,
            bias_known_on_train=bias is not None,
            bias_known_on_val="val" in labels and labels["val"][1] is not None,
            has_hierarchy=hierarchy is not None,
            supervision=supervision,
            _group_counts=counted("train", supervision.train),
            _val_group_counts=counted("val", supervision.val),
            _hierarchy=hierarchy if supervision.hierarchy else None,
        )

    @property
    def num_classes(self) -> int:
        """K."""
        return len(self.class_names)

    @property
    def num_bias(self) -> int:
        """B, how many values the bias attribute has; 0 if it is unknown everywhere."""
        return len(self.bias_names)

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
        return self._counts_of("train", "training", self._group_counts)

    @property
    def val_group_counts(self) -> Tensor:
        """(K, B) int64, validation images of each group (y, a), on the CPU.

        Raises:
            SupervisionError: The method did not declare ``val="bias"``, or the attribute is unknown.
        """
        return self._counts_of("val", "validation", self._val_group_counts)

    def _counts_of(self, split: Literal["train", "val"], images: str, counts: Tensor | None) -> Tensor:
        if getattr(self.supervision, split) != "bias":
            what = "the group counts" if split == "train" else f"the group counts of {images} images"
            raise SupervisionError(_undeclared(what, f"Supervision({split}='bias')"))
        if counts is None:
            raise SupervisionError(f"The bias attribute of the {images} images is unknown for this dataset.")
        return counts

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
class Groups:
    """Groups that were inferred; for a method that trains on them they stand in for the bias attribute.

    Args:
        train: (N,) int64, 0..count-1, one of each training image.
        count: How many there are; some may be empty, of a class or altogether.
        val: (M,) int64, those of the validation images, where the inference annotates them.

    Raises:
        PluginError: They are not of this form.
    """

    train: Tensor
    count: int
    val: Tensor | None = None

    def __post_init__(self) -> None:
        if type(self.count) is not int or self.count < 1:
            raise PluginError(f"The count of groups must be a whole number from 1, not {self.count!r}.")
        for name, group in (("train", self.train), ("val", self.val)):
            if name == "val" and group is None:
                continue
            if not (isinstance(group, Tensor) and group.dtype == torch.int64 and group.dim() == 1):
                raise PluginError(f"The {name} groups must be int64 of shape (N,), not {group!r:.80}.")
            if len(group) and not 0 <= int(group.min()) <= int(group.max()) < self.count:
                raise PluginError(
                    f"The {name} groups must be in 0..{self.count - 1}, not {int(group.min())} to {int(group.max())}."
                )

    @property
    def names(self) -> tuple[str, ...]:
        """What they are called where the values of an attribute have names."""
        return tuple(f"group {group}" for group in range(self.count))

    def to(self, device: torch.device) -> Groups:
        """Return the same groups on a device."""
        return Groups(self.train.to(device), self.count, None if self.val is None else self.val.to(device))


@dataclass(frozen=True)
class Progress:
    """Where a run is: a pure function of the position, so that a resumed run is where it would have been.

    Args:
        stage: Name of the stage; empty before the first one.
        epoch: Epochs of the stage that are done.
        epochs: Length of the stage.
        step: Steps of the epoch that are done.
        steps: Steps in the epoch; 0 while its order is being made.
    """

    stage: str = ""
    epoch: int = 0
    epochs: int = 0
    step: int = 0
    steps: int = 0


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
    _views: Tensor | None = field(default=None, repr=False)

    @property
    def bias(self) -> Tensor:
        """(N,) int64, the bias attribute a.

        Raises:
            SupervisionError: The method did not declare it, or the dataset does not know it.
        """
        if self._bias is None or self._withheld:
            raise SupervisionError(self._withheld)
        return self._bias

    @property
    def views(self) -> Tensor:
        """(V, N, C, H, W), as many augmentations of each image as the method's ``views``; the first is `images`."""
        return self.images[None] if self._views is None else self._views

    def __len__(self) -> int:
        return len(self.target)


@dataclass(frozen=True, eq=False)
class SplitView:
    """A whole split as the method sees it: its labels at once, its images in passes; made by :meth:`of`.

    Args:
        name: ``"train"`` or ``"val"``.
    """

    name: str
    _target: Tensor
    _pass: Callable[[Tensor], Iterator[tuple[Tensor, Tensor]]] = field(repr=False)
    _bias: Tensor | None = field(default=None, repr=False)
    _withheld: str = field(default="", repr=False)
    _on_read: Callable[[], None] = field(default=lambda: None, repr=False)

    @classmethod
    def of(
        cls,
        name: str,
        target: Tensor,
        bias: Tensor | None,
        supervision: Supervision,
        pass_over: Callable[[Tensor], Iterator[tuple[Tensor, Tensor]]],
    ) -> SplitView:
        """Return a split without the labels that `supervision` does not declare.

        Args:
            name: ``"train"`` or ``"val"``.
            target: (N,) int64.
            bias: (N,) int64, or None where the attribute is unknown.
            supervision: What the method declared.
            pass_over: Given positions, (M,) int64 on the CPU, yields images (B, C, H, W) and their positions (B,) in
                that order, without augmentation.
        """
        if getattr(supervision, name) != "bias":
            reason = _undeclared(f"the bias attribute of {name} images", f"Supervision({name}='bias')")
        else:
            reason = f"The bias attribute of {name} images is unknown for this dataset." if bias is None else ""
        return cls(name, target, pass_over, None if reason else bias, reason)

    def telling(self, on_read: Callable[[], None]) -> SplitView:
        """Return the same view, which calls `on_read` whenever labels or images of it are read; its length is not."""
        return replace(self, _on_read=on_read)

    @property
    def target(self) -> Tensor:
        """(N,) int64, the class y, on the run's device."""
        self._on_read()
        return self._target

    @property
    def bias(self) -> Tensor:
        """(N,) int64, the bias attribute a.

        Raises:
            SupervisionError: The method did not declare it for this split, or the dataset does not know it.
        """
        if self._bias is None or self._withheld:
            raise SupervisionError(self._withheld)
        self._on_read()
        return self._bias

    def __len__(self) -> int:
        return len(self._target)

    def batch(self, images: Tensor, index: Tensor, views: Tensor | None = None) -> Batch:
        """Return images of the split with their labels.

        Args:
            images: (N, C, H, W).
            index: (N,) int64, their positions in the split.
            views: (V, N, C, H, W), where there is more than one view.
        """
        bias = None if self._bias is None else self._bias[index]
        return Batch(images, self.target[index], index, bias, self._withheld, views)

    def batches(self, index: Tensor | None = None) -> Iterator[Batch]:
        """Pass over the split once, in order, without augmentation.

        Args:
            index: (M,) int64, positions of the images to pass over, in that order; None for all.
        """
        positions = torch.arange(len(self)) if index is None else index.cpu()
        for images, found in self._pass(positions):
            yield self.batch(images, found)


def _undeclared(what: str, declaration: str) -> str:
    return f"The method read {what} without declaring it; declare {declaration} on its card."
