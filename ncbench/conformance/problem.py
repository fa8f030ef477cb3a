"""A small classification problem, handed to a method as the runner hands over a dataset."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from ncbench.contracts.cards import Supervision
from ncbench.contracts.errors import SupervisionError
from ncbench.contracts.method import Backbone
from ncbench.contracts.parameters import Parameters
from ncbench.contracts.task import Batch, SplitView, Task, withheld
from ncbench.geometry import Hierarchy

PASS_BATCH_SIZE = 16  # of the passes a method makes over a split


@dataclass(frozen=True, eq=False)
class Examples:
    """Labelled images of one split.

    Args:
        images: (N, C, H, W) float32 in [0, 1].
        target: (N,) int64.
        bias: (N,) int64, or None where the attribute is unknown.
    """

    images: Tensor
    target: Tensor
    bias: Tensor | None

    def __len__(self) -> int:
        return len(self.target)

    def without_bias(self) -> Examples:
        """Return the same images with the attribute unknown."""
        return Examples(self.images, self.target, None)

    def with_other_bias(self) -> Examples:
        """Return the same images with the attribute values of other images."""
        return Examples(self.images, self.target, None if self.bias is None else self.bias.roll(1))

    def copy(self) -> Examples:
        """Return copies of all tensors."""
        return Examples(self.images.clone(), self.target.clone(), None if self.bias is None else self.bias.clone())


@dataclass(frozen=True, eq=False)
class Problem:
    """A classification problem.

    Args:
        num_classes: K.
        num_bias: B; 0 if the attribute is unknown everywhere.
        train: The training images.
        val: The validation images; None if there are none.
        hierarchy: Of the classes, or None.
        exposed: Whether labels that are withheld lie where only a method that looks behind the contract finds them.
    """

    num_classes: int
    num_bias: int
    train: Examples
    val: Examples | None
    hierarchy: Hierarchy | None
    exposed: bool = False

    @property
    def splits(self) -> dict[str, Examples]:
        """The splits there are, by name."""
        return {"train": self.train} if self.val is None else {"train": self.train, "val": self.val}

    def copy(self) -> Problem:
        """Return the same problem with copies of all tensors, which a method may damage."""
        return replace(self, train=self.train.copy(), val=None if self.val is None else self.val.copy())

    def without_bias(self) -> Problem:
        """Return the same problem with the attribute unknown everywhere."""
        val = None if self.val is None else self.val.without_bias()
        return replace(self, num_bias=0, train=self.train.without_bias(), val=val)

    def task(self, supervision: Supervision, seed: int) -> Task:
        """Return the task as a method with this supervision may see it."""
        train, counts = self.train, None
        if train.bias is not None and (self.exposed or supervision.train == "bias"):
            cells = train.target * self.num_bias + train.bias
            counts = torch.bincount(cells, minlength=self.num_classes * self.num_bias)
            counts = counts.reshape(self.num_classes, self.num_bias)
        return Task(
            num_classes=self.num_classes,
            num_bias=self.num_bias,
            class_names=_names("class", self.num_classes),
            bias_names=_names("value", self.num_bias),
            input_shape=tuple(train.images.shape[1:]),
            num_train=len(train),
            class_counts=torch.bincount(train.target, minlength=self.num_classes),
            seed=seed,
            bias_known_on_train=train.bias is not None,
            supervision=supervision,
            _group_counts=counts,
            _hierarchy=self.hierarchy if self.exposed or supervision.hierarchy else None,
        )

    def view(
        self, name: str, supervision: Supervision, returned: Callable[[Batch], None] = lambda batch: None
    ) -> SplitView:
        """Return what a method with this supervision may see of a split.

        Args:
            name: Of the split.
            supervision: What the method declared.
            returned: Given each batch of a pass once the method is done with it.
        """
        examples = self.splits[name]
        reason = withheld(name, supervision, known=examples.bias is not None)

        def batches() -> Iterator[Batch]:
            for index in torch.split(torch.arange(len(examples)), PASS_BATCH_SIZE):
                batch = self.batch(name, index, supervision)
                yield batch
                returned(batch)

        if reason and self.exposed:
            return _ExposedSplitView(name, examples.target, batches, examples.bias, reason)
        return SplitView(name, examples.target, batches, None if reason else examples.bias, reason)

    def batch(self, name: str, index: Tensor, supervision: Supervision) -> Batch:
        """Return copies of these images of a split and of the labels a method with this supervision may see."""
        examples = self.splits[name]
        reason = withheld(name, supervision, known=examples.bias is not None)
        kind = _ExposedBatch if reason and self.exposed else Batch
        bias = None
        if examples.bias is not None and (self.exposed or not reason):
            bias = examples.bias[index]
        return kind(examples.images[index], examples.target[index], index.clone(), bias, reason)


class _ExposedBatch(Batch):
    """A batch whose withheld labels lie where a method that respects the contract does not look."""

    @property
    def bias(self) -> Tensor:
        raise SupervisionError(self._withheld)


class _ExposedSplitView(SplitView):
    """A split whose withheld labels lie where a method that respects the contract does not look."""

    @property
    def bias(self) -> Tensor:
        raise SupervisionError(self._withheld)


def _nothing(target: Tensor, bias: Tensor) -> Tensor:
    return torch.zeros_like(target, dtype=torch.bool)


def make_problem(
    num_classes: int = 10,
    num_bias: int = 2,
    *,
    image_shape: tuple[int, int, int] = (3, 4, 4),
    per_group: int = 2,
    absent: Callable[[Tensor, Tensor], Tensor] = _nothing,
) -> Problem:
    """Return a problem with images that carry their class and, more clearly, their attribute value.

    Args:
        num_classes: K.
        num_bias: B, how many values the attribute has.
        image_shape: (C, H, W).
        per_group: Images of each group (y, a) in training, and half as many in validation, at least one.
        absent: Tells, of targets and attribute values, which groups have no training images: (N,) bool.
    """
    generator = torch.Generator().manual_seed(0)
    of_class = torch.rand(num_classes, *image_shape, generator=generator)
    of_bias = torch.rand(num_bias, *image_shape, generator=generator)

    def draw(images: int, absent: Callable[[Tensor, Tensor], Tensor]) -> Examples:
        group = torch.arange(num_classes * num_bias).repeat_interleave(images)
        group = group[torch.randperm(len(group), generator=generator)]
        group = group[~absent(group // num_bias, group % num_bias)]
        target, bias = group // num_bias, group % num_bias
        noise = torch.rand(len(group), *image_shape, generator=generator)
        return Examples(0.3 * of_class[target] + 0.5 * of_bias[bias] + 0.2 * noise, target, bias)

    return Problem(
        num_classes=num_classes,
        num_bias=num_bias,
        train=draw(per_group, absent),
        val=draw(max(1, per_group // 2), _nothing),
        hierarchy=make_hierarchy(num_classes, branches=2),
    )


def make_hierarchy(num_classes: int, branches: int) -> Hierarchy:
    """Return a tree of the problem's classes, dealt out to so many branches below the root."""
    names = _names("class", num_classes)
    return Hierarchy.from_categories((name, f"branch {k % branches}") for k, name in enumerate(names))


def _names(what: str, number: int) -> Sequence[str]:
    return [f"{what} {index}" for index in range(number)]


class SmallBackbone(Backbone):
    """Two hidden layers with dropout between them; the features are those after the last ReLU.

    Dropout makes training depend on the global generator, as many networks do, and shows where a method is not
    switched between training and evaluation mode.
    """

    feature_dim = 16

    def __init__(self, input_shape: tuple[int, ...]) -> None:
        super().__init__(input_shape, Parameters())
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(math.prod(input_shape), 32), nn.ReLU(), nn.Dropout(0.1))
        self.layers.extend([nn.Linear(32, self.feature_dim), nn.ReLU()])

    def forward(self, images: Tensor) -> Tensor:
        """Return the features: (N, C, H, W) -> (N, 16)."""
        features: Tensor = self.layers(images)
        return features
