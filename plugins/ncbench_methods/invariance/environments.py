"""Environments: the parts of the data, one for each value of the bias attribute, that invariant methods compare."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Self

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from ncbench import Batch, Method, Parameters, SplitView
from ncbench_methods.balancing.cells import weighted_draws


class EnvironmentParameters(Parameters):
    """Parameters of every method that compares environments."""

    sample: Literal["environment", "image"] = Field(
        "environment", description="draw environments equally often, or visit each image once an epoch"
    )


class ComparesEnvironments(Method):
    """A method that compares the environments in a batch; e is the value of the bias attribute.

    Images are drawn with replacement and environments equally often, N images an epoch, as in WILDS (Koh et al., ICML
    2021); with `sample=image` each is visited once, as in SubpopBench (Yang et al., ICML 2023).
    """

    consumes_groups = True
    alternative = "Use a method that needs none: lff or jtt."

    def order(self, train: SplitView, generator: torch.Generator) -> Tensor:
        """Return N images, drawn with replacement so that each environment is equally likely."""
        if self.params.sample == "image":
            return super().order(train, generator)
        return weighted_draws(train.bias.cpu(), generator)

    def environments(self, batch: Batch) -> Environments:
        """Return the environments in a batch."""
        return Environments.of(batch.bias, self.task.num_bias)

    def epochs_done(self) -> float:
        """Return how many epochs of the training are done, the part of the one under way among them."""
        return self.progress.epoch + self.progress.step / max(self.progress.steps, 1)

    def after(self, share: float) -> bool:
        """Whether so much of the training is done, a share from 0 to 1."""
        return self.epochs_done() / max(self.progress.epochs, 1) >= share


@dataclass(frozen=True, eq=False)
class Environments:
    """Which images of a batch are of which environment.

    Args:
        belongs: (N, E) bool.
        count: (E,) int64, the environments' images in the batch.
    """

    belongs: Tensor
    count: Tensor

    @classmethod
    def of(cls, environment: Tensor, number: int) -> Self:
        """Return those of a batch.

        Args:
            environment: (N,) int64 in 0..E-1.
            number: E.
        """
        belongs = F.one_hot(environment, number).bool()
        return cls(belongs, belongs.sum(dim=0))

    def means(self, values: Tensor) -> Tensor:
        """Return the mean over each environment's images: (N,) -> (E,), (N, d) -> (E, d); 0 where it has none."""
        share = self.belongs.to(values.dtype) / self.count.clamp_min(1)  # (N, E)
        with torch.autocast(values.device.type, enabled=False):
            return torch.einsum("ne,n...->e...", share, values)

    def average(self, of_each: Tensor, fewest: int = 1) -> Tensor:
        """Return the mean of (E,) values over the environments with at least so many images; 0 if there are none."""
        counts = self.count >= fewest
        return torch.where(counts, of_each, 0.0).sum() / counts.sum().clamp_min(1)

    def spread(self, of_each: Tensor) -> Tensor:
        """Return the mean squared distance of (E, m) values to their mean, over environments of two images at least."""
        counts = (self.count >= 2)[:, None]
        mean = torch.where(counts, of_each, 0.0).sum(dim=0) / counts.sum().clamp_min(1)
        return self.average((of_each - mean).square().mean(dim=1), fewest=2)

    def halves(self) -> tuple[Environments, Environments]:
        """Deal each environment's images out in turn: its first, third, ..., and its second, fourth, ..."""
        odd = self.belongs & (self.belongs.cumsum(dim=0) % 2 == 1)  # (N, E)
        even = self.belongs & ~odd
        return Environments(odd, odd.sum(dim=0)), Environments(even, even.sum(dim=0))


def scale_gradients(logits: Tensor, target: Tensor) -> Tensor:
    """Return d/ds CE(s z, y) at s = 1 of each image, which is sum_k p_k z_k - z_y.

    It is the gradient that IRM penalises (Arjovsky et al., 2019, section 3.1), differentiable as it stands, so that
    nothing has to be differentiated twice.

    Args:
        logits: (N, K).
        target: (N,) int64 in 0..K-1.

    Returns:
        (N,), of the logits' dtype.
    """
    expected = (logits.softmax(dim=1) * logits).sum(dim=1)
    return expected - logits.gather(1, target[:, None]).squeeze(1)


def squared_distances(points: Tensor) -> Tensor:
    """Return the squared Euclidean distance between any two of (N, d) points: (N, N), exactly 0 on the diagonal."""
    centred = points - points.detach().mean(dim=0)  # far from the origin, the difference of squares would lose digits
    gram = centred @ centred.T
    square = gram.diagonal()
    return (square[:, None] + square - 2 * gram).clamp_min(0)
