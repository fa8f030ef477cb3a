"""A toy problem: a few random images with targets and a bias attribute, and the views a runner hands to a method."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ncbench import Backbone, Batch, Method, Parameters, SplitView, Supervision, Task
from ncbench.contracts.method import refuse_missing_labels
from ncbench.contracts.task import Progress
from ncbench.geometry import Hierarchy
from ncbench_methods import ncbench_methods
from ncbench_methods.erm import ERM

IMAGE_SHAPE = (3, 4, 4)
NAMES = {card.factory: card.name for card in ncbench_methods()}
WITHHELD = "withheld by the test"


class ToyBackbone(Backbone):
    """One hidden layer with BatchNorm, the features after a ReLU."""

    def __init__(self, feature_dim: int, norm: bool = True) -> None:
        super().__init__(IMAGE_SHAPE, Parameters())
        self.feature_dim = feature_dim
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(48, 12), nn.BatchNorm1d(12) if norm else nn.Identity())
        self.layers.extend([nn.ReLU(), nn.Linear(12, feature_dim), nn.ReLU()])

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.layers(images)
        return features


class GivenFeatures(Backbone):
    """The pixels are the features: no parameters."""

    def __init__(self) -> None:
        super().__init__(IMAGE_SHAPE, Parameters())
        self.feature_dim = 48

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1)


@dataclass(frozen=True, eq=False)
class Toy:
    """Labelled images, and what a method may see of them."""

    images: Tensor
    target: Tensor
    bias: Tensor
    num_classes: int
    num_bias: int
    hierarchy: Hierarchy | None

    def task(self, supervision: Supervision, bias_known: bool = True, seed: int = 0) -> Task:
        return Task.of(
            dict.fromkeys(("train", "val"), (self.target, self.bias if bias_known else None)),
            class_names=[f"class {k}" for k in range(self.num_classes)],
            bias_names=[f"bias {b}" for b in range(self.num_bias)] if bias_known else [],
            input_shape=IMAGE_SHAPE,
            hierarchy=self.hierarchy,
            seed=seed,
            supervision=supervision,
        )

    def batch(self, index: Tensor | None = None, bias: bool = True) -> Batch:
        index = torch.arange(len(self.target)) if index is None else index
        return Batch(
            self.images[index], self.target[index], index, self.bias[index] if bias else None, "" if bias else WITHHELD
        )

    def split(self, name: str = "train", bias: bool = True, size: int = 5) -> SplitView:
        declared = Supervision(train="bias", val="bias") if bias else Supervision()
        return SplitView.of(
            name,
            self.target,
            self.bias,
            declared,
            lambda positions: ((self.images[index], index) for index in positions.split(size)),
        )


def make_toy(
    num_images: int = 24,
    num_classes: int = 3,
    num_bias: int = 3,
    seed: int = 0,
    hierarchy: Hierarchy | None = None,
) -> Toy:
    """Make a toy; unless told otherwise, its classes of even and of odd number are two branches of the hierarchy."""
    generator = torch.Generator().manual_seed(seed)
    return Toy(
        images=torch.randn(num_images, *IMAGE_SHAPE, generator=generator, dtype=torch.float64),
        target=torch.arange(num_images) % num_classes,
        bias=torch.randint(num_bias, (num_images,), generator=generator),
        num_classes=num_classes,
        num_bias=num_bias,
        hierarchy=hierarchy or Hierarchy.from_categories((f"class {k}", f"branch {k % 2}") for k in range(num_classes)),
    )


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Toy tensors are slower on two threads than on one, and much slower when others use the cores."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def toy() -> Toy:
    return make_toy()


@pytest.fixture
def toy_of() -> Callable[..., Toy]:
    return make_toy


@pytest.fixture
def make() -> Callable[..., Method]:
    """Build a method in float64 on a toy, with the supervision that its parameters need."""

    def build(
        method_class: type[Method],
        toy: Toy,
        declared: Supervision | None = None,
        *,
        bias_known: bool = True,
        feature_dim: int = 7,
        norm: bool = True,
        seed: int = 0,
        global_seed: int = 0,
        given: bool = False,
        **values: object,
    ) -> Method:
        params = method_class.Parameters.build(values, owner="the method")
        supervision = method_class.supervision(params, declared or Supervision())
        task = toy.task(supervision, bias_known, seed)
        name = NAMES.get(f"{method_class.__module__}:{method_class.__qualname__}", method_class.__qualname__)
        known = {"train": task.bias_known_on_train, "val": task.bias_known_on_val, "hierarchy": task.has_hierarchy}
        refuse_missing_labels(method_class, name, supervision, **known)

        def make_backbone(spec: str | None = None) -> Backbone:
            return GivenFeatures() if given and spec is None else ToyBackbone(feature_dim, norm)

        torch.manual_seed(global_seed)
        return method_class(task, params, make_backbone).double()

    return build


@pytest.fixture
def built(make: Callable[..., Method]) -> Callable[..., tuple[Method, Method]]:
    """Build a method on a toy and let it start from an erm that is there; the two are returned."""

    def build(
        method_class: type[Method], toy: Toy, declared: Supervision | None = None, **values: object
    ) -> tuple[Method, Method]:
        method = make(method_class, toy, declared, **values)
        base = make(ERM, toy, global_seed=9).eval()
        base(toy.images)
        method.eval()
        method.start_from(base)
        return method, base

    return build


def problem(number: int = 120, dim: int = 8, num_classes: int = 3, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return features around a random centre of each class, (number, dim) float64, and their targets."""
    generator = torch.Generator().manual_seed(seed)
    target = torch.randint(num_classes, (number,), generator=generator)
    centres = 1.5 * torch.randn(num_classes, dim, generator=generator, dtype=torch.float64)
    return centres[target] + torch.randn(number, dim, generator=generator, dtype=torch.float64), target


def at(method: Any, stage: str, epoch: int = 0, step: int = 0) -> Any:
    """Put a method where the runner would, and return it."""
    method.progress = Progress(stage, epoch, 2, step, 2)
    return method


def total(loss: Tensor | dict[str, Tensor]) -> Tensor:
    """Return the scalar that a runner minimises: the loss, or the sum of its terms."""
    return loss if isinstance(loss, Tensor) else torch.stack(list(loss.values())).sum()


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def copy_shared(source: nn.Module, target: nn.Module) -> None:
    """Give a method the parameters that another has by the same names."""
    shared = {name: value for name, value in source.state_dict().items() if name in target.state_dict()}
    target.load_state_dict(shared, strict=False)


def gradients(term: Tensor, parameters: Iterable[Tensor]) -> tuple[Tensor | None, ...]:
    return torch.autograd.grad(term, list(parameters), allow_unused=True, retain_graph=True)


def reached(term: Tensor, *modules: nn.Module) -> list[bool]:
    """Tell which modules a term's gradient reaches."""
    return [any(g is not None and bool(g.any()) for g in gradients(term, module.parameters())) for module in modules]
