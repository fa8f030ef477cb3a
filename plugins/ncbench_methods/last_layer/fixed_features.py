"""What methods of the last layer share: a finished erm, its features in one pass, halves of a split, scaling."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from ncbench import Batch, ConfigurationError, Method, SplitView, Stage, Task, name_offenders

_RESOLUTION = torch.finfo(torch.float32).eps


class FeaturePasses(Method):
    """A method that passes over the features of a split and sets a linear classifier of them."""

    @torch.no_grad()
    def passes(self, view: SplitView, index: Tensor | None = None) -> Iterator[tuple[Tensor, Batch]]:
        """Yield the features (n, d) of a split's images, without augmentation, with the batches they are of.

        Args:
            view: The split.
            index: (M,) int64, positions of the images, in that order; None for all.
        """
        for batch in view.batches(index):
            yield self.features(batch.images), batch

    def features_of(self, view: SplitView, index: Tensor | None = None) -> Tensor:
        """Return the features of a split's images, or of those at `index`: (M, d) float64, on its device."""
        number = len(view) if index is None else len(index)
        found = torch.empty(number, self.backbone.feature_dim, dtype=torch.float64, device=view.target.device)
        seen = 0
        for features, _ in self.passes(view, index):
            found[seen : seen + len(features)] = features
            seen += len(features)
        return found

    def set_classifier(self, weight: Tensor, bias: Tensor) -> None:
        """Take over the weight (K, d) and the bias (K,) of a fit."""
        with torch.no_grad():
            self.classifier.weight.copy_(weight)
            self.classifier.bias.copy_(bias)


class LastLayer(FeaturePasses):
    """A method that builds on a finished erm, leaves its backbone as it is, and fits a linear classifier."""

    search_space: ClassVar = {}  # nothing is trained by a recipe

    @classmethod
    def base(cls, params: Any) -> str:
        """Return the method whose features are used."""
        return "erm"

    def stages(self, epochs: int) -> Sequence[Stage]:
        """Return none: nothing is trained by epochs."""
        return []

    def train(self, mode: bool = True) -> Self:
        """Set the mode of everything but the backbone, whose BatchNorm would go on to change in training mode."""
        super().train(mode)
        self.backbone.eval()
        return self


def halves(number: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Deal 0..N-1 out at random: ((N + 1) // 2,) int64 to fit on and (N // 2,) int64 to choose by."""
    order = torch.randperm(number, generator=generator)
    return order[: (number + 1) // 2], order[(number + 1) // 2 :]


def balanced_subset(cell: Tensor, generator: torch.Generator) -> Tensor:
    """Draw as many images of every cell as the smallest has, without replacement: (cells * min_c n_c,) int64.

    Args:
        cell: (N,) int64, the cell of each image, on the CPU. A cell without images is none.
        generator: On the CPU.
    """
    least = int(torch.bincount(cell)[cell].min())
    shuffled = torch.randperm(len(cell), generator=generator)
    return torch.cat([shuffled[cell[shuffled] == each][:least] for each in cell.unique()])


def group_accuracies(logits: Tensor, target: Tensor, cell: Tensor) -> tuple[float, float]:
    """Return the worst cell's accuracy and the cells' mean, over the cells that have images; 0, 0 without any.

    Args:
        logits: (N, K).
        target: (N,) int64.
        cell: (N,) int64, the cell of each image.
    """
    if not len(target):
        return 0.0, 0.0
    count, correct = torch.bincount(cell), torch.bincount(cell, weights=(logits.argmax(dim=1) == target).double())
    accuracy = correct[count > 0] / count[count > 0]
    return float(accuracy.min()), float(accuracy.mean())


def refuse_absent_groups(task: Task, method: str, alternative: str) -> None:
    """Refuse a task of which a group (target, bias) has no validation image.

    Raises:
        ConfigurationError: One has none; it is named, and the message ends with `alternative`.
    """
    absent = (task.val_group_counts == 0).nonzero().tolist()
    if absent:
        names = [f"{task.class_names[target]} with {task.bias_names[bias]}" for target, bias in absent]
        raise ConfigurationError(
            f"{method} needs validation images of every group, and there are none of {name_offenders(names, 3)}. "
            f"{alternative}"
        )


def fits_on_val(method: str) -> str:
    """Return why a method is refused that fits the last layer on validation images, where there are none."""
    return (
        f"{method} fits the last layer on validation images, and this dataset has none. Hold images out, as in "
        "colored_digits:val=0.1, or run crt, which needs none."
    )


@dataclass(frozen=True, eq=False)
class Scaling:
    """Features (x - mean) / std; of a feature that is constant, or varies by no more than rounding does, x - mean.

    Args:
        mean: (d,) float64.
        std: (d,) float64, dividing by N.
    """

    mean: Tensor
    std: Tensor

    @classmethod
    def of(cls, batches: Iterator[Tensor] | Sequence[Tensor]) -> Self:
        """Return that of features which come in batches (n, d), of any floating type."""
        number, mean, squares = 0, torch.zeros(()), torch.zeros(())
        for features in batches:  # each batch's own moments are merged into those before it (Chan et al., 1979)
            batch = features.double()
            shift, total = batch.mean(dim=0) - mean.to(batch), number + len(batch)
            of_batch = (batch - batch.mean(dim=0)).square().sum(dim=0)
            squares = squares.to(batch) + of_batch + shift.square() * number * len(batch) / total
            mean = mean.to(batch) + shift * len(batch) / total
            number = total
        std = (squares / number).sqrt()
        # What float32 cannot tell from a constant is one, and so is what it loses in a sum with the other features: the
        # weights of nearly dead units would outweigh all others by as much.
        constant = std <= _RESOLUTION * torch.maximum(mean.abs(), std.max())
        return cls(mean, torch.where(constant, 1.0, std))

    def __call__(self, features: Tensor) -> Tensor:
        """Return the scaled features: (n, d) -> (n, d) float64."""
        return (features.double() - self.mean) / self.std

    def fold(self, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        """Return the classifier of unscaled features with the logits that (K, d) and (K,) give of scaled ones."""
        folded = weight / self.std
        return folded, bias - folded @ self.mean
