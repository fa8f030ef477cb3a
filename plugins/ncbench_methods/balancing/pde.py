"""Progressive data expansion: start from balanced groups, and add the other images bit by bit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from ncbench import Batch, LogUniform, Method, Parameters, Published, SplitView, Stage
from ncbench_methods.balancing.cells import cell_counts, cell_of, drawn_subset
from ncbench_methods.published_recipes import RESNET50

EXPAND = "expand"

_RECIPE: Mapping[str, Any] = MappingProxyType({**RESNET50, "augmentation": "crop_flip", "lr": 1e-2})


class PDEParameters(Parameters):
    """Parameters of :class:`PDE`."""

    warm_up: float = Field(
        0.467, gt=0, le=1, description="share of the epochs, the first ones, on balanced groups alone"
    )
    add: int = Field(10, ge=0, description="images added at a time")
    every: int = Field(10, ge=1, description="epochs from one addition to the next")
    gamma: float = Field(0.01, gt=0, description="factor of the learning rate from the first addition on")
    balance: Literal["class", "all"] = Field(
        "class", description="warm up on groups as large as their class's smallest one, or as the smallest of all"
    )


class PDE(Method):
    """Warm up on a group-balanced subset, then add images as training goes on (Deng et al., NeurIPS 2023, algorithm 1).

    The subset holds as many images of every group of a class as its smallest group has. After `warm_up` of the epochs,
    and every `every` epochs from then on, `add` images join it, drawn from those that are not in it, without
    replacement and whatever their group. The learning rate is then `gamma` times the recipe's; the optimizer and the
    schedule go on. Nothing added and gamma = 1 is `subsample`, where the classes' smallest groups are of one size.

    In the published settings' code images are flipped and not padded, and on celeba the first addition is a draw
    balanced over the classes of each attribute value.

    Supervision: the bias attribute of training images.
    """

    Parameters = PDEParameters
    consumes_groups = True
    alternative = "Use a method that needs none: lff or jtt."
    search_space: ClassVar = {**Method.search_space, "recipe.weight_decay": LogUniform(1e-6, 1e-1)}
    published: ClassVar[Mapping[str, Published]] = {
        "waterbirds": Published(
            source="Deng et al. (NeurIPS 2023), the published code's README; epochs of its configs/datasets.py",
            parameters={"warm_up": 0.467, "add": 10, "every": 10, "gamma": 0.01, "balance": "class"},
            recipe={**_RECIPE, "epochs": 300, "batch_size": 64, "weight_decay": 1e-2},
            backbone="resnet50:weights=imagenet",
        ),
        "celeba": Published(
            source="Deng et al. (NeurIPS 2023), the published code's README, which lowers no learning rate "
            "here; epochs and batch of its configs/datasets.py",
            parameters={"warm_up": 0.32, "add": 50, "every": 10, "gamma": 1.0, "balance": "all"},
            recipe={**_RECIPE, "epochs": 50, "batch_size": 128, "weight_decay": 1e-4},
            backbone="resnet50:weights=imagenet",
        ),
    }

    def stages(self, epochs: int) -> Sequence[Stage]:
        """Return the warm-up, and the expansion that continues it where epochs are left for it."""
        expansion = min(round(epochs * (1 - self.params.warm_up)), epochs - 1)
        warm_up = Stage("warm_up", epochs - expansion)
        return [warm_up, Stage(EXPAND, expansion, continues=True)] if expansion > 0 else [warm_up]

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return all parameters, at the smaller learning rate once images are added."""
        scale = self.params.gamma if self.progress.stage == EXPAND else 1.0
        return [{"params": list(self.parameters()), "lr_scale": scale}]

    def order(self, train: SplitView, generator: torch.Generator) -> Tensor:
        """Return the balanced subset and what was added by now, in random order."""
        draws = self.task.generator("pde")
        subset = drawn_subset(cell_of(train, self.task, "group").cpu(), self._sizes(), draws)
        others = torch.ones(len(train), dtype=torch.bool).index_fill(0, subset, False).nonzero()[:, 0]
        others = others[torch.randperm(len(others), generator=draws)]
        times = 1 + self.progress.epoch // self.params.every if self.progress.stage == EXPAND else 0
        images = torch.cat([subset, others[: times * self.params.add].sort().values])
        return images[torch.randperm(len(images), generator=generator)]

    def _sizes(self) -> Tensor:
        """Return how many images of each group the warm-up takes: (K * B,)."""
        counts = cell_counts(self.task, "group").reshape(self.task.num_classes, self.task.num_bias)
        counts = torch.where(counts > 0, counts, counts.max())  # a group without images is nobody's smallest
        smallest = counts.min(dim=1, keepdim=True).values if self.params.balance == "class" else counts.min()
        return smallest.expand_as(counts).flatten()

    def loss(self, batch: Batch) -> Tensor:
        """Return the mean cross-entropy."""
        return F.cross_entropy(self(batch.images), batch.target)
