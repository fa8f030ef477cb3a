"""DISPEL: the last layer of an erm, fitted on images that are mixed with images of a balanced set."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from ncbench import Parameters, SplitView
from ncbench_methods.balancing.cells import cell_of
from ncbench_methods.last_layer.dfr import REGULARISATION
from ncbench_methods.last_layer.fixed_features import (
    LastLayer,
    Scaling,
    balanced_subset,
    group_accuracies,
    halves,
    refuse_absent_groups,
)
from ncbench_methods.last_layer.l1_logistic import fit_l1_logistic

SHARES = (1.0, 0.9, 0.8, 0.7)
"""Values of s that are tried, in this order."""
DRAWS = 20
"""How many fits are averaged."""


class DISPELParameters(Parameters):
    """Parameters of :class:`DISPEL`."""

    s: float | None = Field(
        None, ge=0, le=1, description="share of the balanced image in a mixture; None: of 1, .9, .8, .7 the best"
    )
    alpha: float = Field(1.0, ge=0, le=1, description="share of the images that are mixed")


class DISPEL(LastLayer):
    """Fit L1-regularised logistic regression on features mixed with those of balanced groups (Xue et al., 2023).

    The balanced set has min_g validation images of each group g = (y, a), the other one as many of each class as the
    smallest class has, whatever their groups. Each image x of the other set is, with probability alpha, replaced by
    s x' + (1 - s) x with x' any image of its class in the balanced set. Of s in 1, 0.9, 0.8, 0.7 and of dfr's strengths
    C the pair is kept whose fit on one half of the validation images has the best worst-group accuracy on the other,
    ties by the mean over groups, then by the first. Twenty such sets of all validation images give fits, which are
    averaged. Features are scaled by the statistics of the training images throughout.

    With s = 1 it is dfr on balanced images drawn with replacement; with alpha = 0 it is class-balanced logistic
    regression. The penalty is dfr's: the intercept is free, unlike in the published code. What is chosen is in the
    report. The sets and their sizes are those of SpuCo's implementation.

    Supervision: the bias attribute of validation images.
    """

    Parameters = DISPELParameters
    alternative = "Hold images out, as in colored_digits:val=0.1,val_bias=uniform, or run crt, which needs none."
    search_space: ClassVar = {"method.alpha": (0.5, 1.0)}

    def build(self) -> None:
        """Create the network.

        Raises:
            ConfigurationError: A group has no validation image.
        """
        super().build()
        refuse_absent_groups(self.task, "dispel", self.alternative)

    @torch.no_grad()
    def finish(self, train: SplitView, val: SplitView | None) -> None:
        """Choose s and the strength of the penalty, then average fits."""
        assert val is not None  # or the attribute of its images would not be known
        generator = self.task.generator("dispel")
        scaling = Scaling.of(features for features, _ in self.passes(train))
        scaled = scaling(self.features_of(val))
        target, cell = val.target.cpu(), cell_of(val, self.task, "group").cpu()
        fitting, choosing = halves(len(val), generator)
        truth, group = target[choosing].to(scaled.device), cell[choosing].to(scaled.device)
        tuning = [fitting[part] for part in mixing_pairs(target[fitting], cell[fitting], self.params.alpha, generator)]
        best, s, C = (-1.0, -1.0), 1.0, 1.0
        for trial in itertools.product(SHARES if self.params.s is None else (self.params.s,), REGULARISATION):
            weight, bias = self._fit(scaled, target, tuning, *trial)
            score = group_accuracies(scaled[choosing.to(scaled.device)] @ weight.T + bias, truth, group)
            if score > best:
                best, (s, C) = score, trial
        pairs = [mixing_pairs(target, cell, self.params.alpha, generator) for _ in range(DRAWS)]
        fits = [self._fit(scaled, target, pair, s, C) for pair in pairs]
        weight, bias = (torch.stack(parts).mean(dim=0) for parts in zip(*fits, strict=True))
        self.set_classifier(*scaling.fold(weight, bias))
        self.report.update(s=s, C=C, chosen_by_worst_group_accuracy=best[0], chosen_by_group_mean_accuracy=best[1])

    def _fit(self, scaled: Tensor, target: Tensor, pair: Sequence[Tensor], s: float, C: float) -> tuple[Tensor, Tensor]:
        own, partner = (part.to(scaled.device) for part in pair)
        mixed = s * scaled[partner] + (1 - s) * scaled[own]
        return fit_l1_logistic(mixed, target.to(scaled.device)[own], self.task.num_classes, C)


def mixing_pairs(target: Tensor, cell: Tensor, alpha: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw a class-balanced set of images, and for each its partner from a set that is balanced over cells.

    Args:
        target: (N,) int64, on the CPU.
        cell: (N,) int64, on the CPU.
        alpha: Share of the images that have another image of their class as their partner; the others have themselves.
        generator: On the CPU.

    Returns:
        The positions of the images, and those of their partners: both (M,) int64.
    """
    balanced = balanced_subset(cell, generator)
    own = balanced_subset(target, generator)
    same = target[own][:, None] == target[balanced]  # (M, balanced)
    partner = balanced[torch.multinomial(same.double(), 1, generator=generator)[:, 0]]
    mixed = torch.rand(len(own), generator=generator) < alpha
    return own, torch.where(mixed, partner, own)
