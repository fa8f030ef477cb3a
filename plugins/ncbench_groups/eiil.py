"""Environment inference for invariant learning."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from ncbench import Groups, Published, SplitView
from ncbench_groups.reference import Reference, ReferenceParameters

STEPS, LEARNING_RATE = 10_000, 1e-3
_SPUCO = Published(
    source="the reference network of the SpuCo package",
    parameters={"epochs": 1},
    recipe={"lr": 1e-3, "weight_decay": 1e-4},
)


class EIILParameters(ReferenceParameters):
    """Parameters of :class:`EIIL`."""

    solver: Literal["closed", "adam"] = Field(
        "closed", description="the optimum itself, or 10,000 steps of Adam towards it, as published"
    )


class EIIL(Reference):
    """Two environments between which the reference model violates invariance the most (section 3 of the paper).

    With z an image's logits, p their softmax and y its class, let

        g = d/ds CE(s z, y) at s = 1 = sum_k p_k (z_k - z_y),

    the slope of its loss in the scale of the classifier. Environments are soft assignments sigma in [0, 1] of the
    images that maximise (mean_i sigma_i g_i)^2 + (mean_i (1 - sigma_i) g_i)^2, the penalty of invariant risk
    minimisation summed over the two. The sum of all g is fixed, so the objective is convex in A = sum_i sigma_i g_i,
    and largest where A is: sigma_i = 1 where g_i > 0. That is group 1, and the other optimum is the same two groups
    under each other's name.

    For K = 2, g = p_k (z_k - z_y) with k the other class: group 1 are exactly the images that are misclassified, which
    is what `errors` gives. For more classes it is a part of them: an image that is right has g <= 0, and so has one
    that is wrong but whose class lies above what the model expects of it on average.

    `solver=adam` takes the published way: sigma is the sigmoid of weights that start normal, and Adam at 1e-3 climbs
    for 10,000 steps. Images whose g is too small for it to move stay where they began.

    Published settings: `waterbirds` and `celeba`, the reference network of SpuCo; the paper's own have no image data.

    Supervision: none.
    """

    Parameters = EIILParameters
    published: ClassVar[Mapping[str, Published]] = {"waterbirds": _SPUCO, "celeba": _SPUCO}

    def infer(self, train: SplitView, val: SplitView | None) -> Groups:
        """Return the two environments."""
        return Groups(self.environment(train), 2, self.annotated(val, self.environment))

    def environment(self, view: SplitView) -> Tensor:
        """Return the environment of each image of a split: (N,) int64, 0 or 1."""
        slope = slopes(self.logits_of(view), view.target)
        if self.params.solver == "adam":
            return climb(slope, self.task.generator(f"eiil {view.name}")).long()
        return (slope > 0).long()


def slopes(logits: Tensor, target: Tensor) -> Tensor:
    """Return d/ds CE(s z, y) at s = 1 of each image: (N, K) logits, (N,) int64 -> (N,)."""
    above = logits - logits.gather(1, target[:, None])  # (N, K) z_k - z_y, exactly 0 at y
    return (logits.softmax(dim=1) * above).sum(dim=1)


def climb(slope: Tensor, generator: torch.Generator, steps: int = STEPS) -> Tensor:
    """Return the environment of each image that Adam finds: (N,) slopes -> (N,) bool, True where they are larger.

    Args:
        slope: What each image adds to the gradient of its environment.
        generator: Of the start, on the CPU.
        steps: Of the optimizer.
    """
    weight = torch.randn(len(slope), generator=generator).to(slope).requires_grad_()
    optimizer = torch.optim.Adam([weight], lr=LEARNING_RATE)
    for _ in range(steps):
        soft = weight.sigmoid()
        objective = (soft * slope).mean().square() + ((1 - soft) * slope).mean().square()
        optimizer.zero_grad()
        (-objective).backward()
        optimizer.step()
    first = weight.detach() > 0
    return first if slope[first].sum() >= slope[~first].sum() else ~first
