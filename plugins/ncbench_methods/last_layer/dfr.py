"""Deep feature reweighting: the last layer of an erm, fitted anew where every group counts the same."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from ncbench import Parameters, SplitView, Supervision
from ncbench_methods.balancing.cells import cell_of
from ncbench_methods.last_layer.fixed_features import (
    LastLayer,
    Scaling,
    balanced_subset,
    group_accuracies,
    halves,
    refuse_absent_groups,
)
from ncbench_methods.last_layer.l1_logistic import fit_l1_logistic

REGULARISATION = (1.0, 0.7, 0.3, 0.1, 0.07, 0.03, 0.01)
"""Values of C that are tried, in this order."""
CLASS_WEIGHTS = (1.0, 2.0, 3.0, 10.0, 100.0, 300.0, 1000.0)
"""Weights of either class that are tried with ``data=train``, where there are two."""
DRAWS = {"val": 20, "train": 10}
"""How many fits are averaged."""


class DFRParameters(Parameters):
    """Parameters of :class:`DFR`."""

    data: Literal["val", "train"] = Field(
        "val", description="whose images the last layer is fitted on; train is DFR-Tr, which is tuned on val"
    )


class DFR(LastLayer):
    """Fit L1-regularised logistic regression on features of images balanced over groups (Kirichenko et al., ICLR 2023).

    With `data=val`, as published: (i) half of the validation images is thinned to min_g images of each group g = (y, a)
    and scaled by its own statistics; of the strengths C in 1, 0.7, 0.3, 0.1, 0.07, 0.03, 0.01 the one is kept whose fit
    has the best worst-group accuracy on the other half, ties by the mean over groups, then by the first. (ii) Twenty
    such subsets of all validation images, scaled by the statistics of the *training* images, give fits with that C,
    which are averaged. With `data=train` (DFR-Tr) the subsets are ten of the training images, scaled alike throughout,
    and, where there are two classes, a weight of 1, 2, 3, 10, 100, 300 or 1000 on either is tuned too, by all
    validation images.

    The scaling is folded into the classifier, so that it is linear in the features. The intercept is not penalised, as
    in scikit-learn's saga; the published code is liblinear, which penalises it. "DFR" in SubpopBench is another method:
    gradient descent on cross-entropy plus an L1 penalty, unscaled and unaveraged.

    What is chosen is in the report: C, the accuracies it was chosen by, how many images of a group there are in a fit,
    and a class with another weight than 1. Validation metrics are of images that it was fitted on.

    The published erm it builds on has, on waterbirds, 100 epochs of SGD with lr and weight decay 1e-3 and batches of
    32; on celeba 50 epochs, weight decay 1e-4, batches of 128, both augmented and from ImageNet weights. Give them as
    ``base.recipe.KEY``. A search has nothing to try.

    Supervision: the bias attribute of validation images; of training images too with `data=train`.
    """

    Parameters = DFRParameters
    alternative = (
        "Where a dataset is given its bias, hold images out, as in colored_digits:val=0.1,val_bias=uniform; else run "
        "crt, which needs none."
    )

    @classmethod
    def supervision(cls, params: DFRParameters, declared: Supervision) -> Supervision:
        """Return what is declared, without the training images' attribute where it is not used."""
        return declared if params.data == "train" else Supervision(val=declared.val)

    def build(self) -> None:
        """Create the network.

        Raises:
            ConfigurationError: A group has no validation image.
        """
        super().build()
        refuse_absent_groups(self.task, str(self.params.spec("dfr")), self.alternative)

    @torch.no_grad()
    def finish(self, train: SplitView, val: SplitView | None) -> None:
        """Choose the strength of the penalty, then average fits on balanced subsets."""
        assert val is not None  # or the attribute of its images would not be known
        generator = self.task.generator("dfr")
        source = train if self.params.data == "train" else val
        cell = cell_of(source, self.task, "group").cpu()
        fitting, choosing = torch.arange(len(train)), torch.arange(len(val))
        if source is val:
            fitting, choosing = halves(len(val), generator)
        tuning = fitting[balanced_subset(cell[fitting], generator)]
        draws = [balanced_subset(cell, generator) for _ in range(DRAWS[self.params.data])]
        needed = torch.cat([tuning, *draws]).unique()
        held = self.features_of(source, needed)

        def drawn_features(positions: Tensor) -> Tensor:
            return held[torch.searchsorted(needed, positions).to(held.device)]

        scaling = Scaling.of(features for features, _ in self.passes(train))
        own = Scaling.of([drawn_features(tuning)]) if source is val else scaling
        held_out = (
            own(self.features_of(val, choosing)),
            val.target[choosing],
            cell_of(val, self.task, "group")[choosing],
        )
        C, class_weight = self._choose(own(drawn_features(tuning)), source.target[tuning], held_out)
        fits = [self._fit(scaling(drawn_features(drawn)), source.target[drawn], C, class_weight) for drawn in draws]
        weight, bias = (torch.stack(parts).mean(dim=0) for parts in zip(*fits, strict=True))
        self.set_classifier(*scaling.fold(weight, bias))
        self.report["images_a_group"] = float(len(draws[0]) // len(cell.unique()))

    def _choose(
        self, features: Tensor, target: Tensor, held_out: tuple[Tensor, Tensor, Tensor]
    ) -> tuple[float, Tensor | None]:
        """Return the C and the class weights whose fit has the best worst group.

        Args:
            features: (n, d) to fit on.
            target: (n,) int64.
            held_out: Features, targets and groups to choose by.
        """
        choosing, truth, group = held_out
        best: tuple[float, float] | None = None
        chosen: tuple[float, Tensor | None] = (REGULARISATION[0], None)
        for (label, factor, class_weight), C in itertools.product(self._class_weights(), REGULARISATION):
            weight, bias = self._fit(features, target, C, class_weight)
            score = group_accuracies(choosing @ weight.T + bias, truth, group)
            if best is None or score > best:
                best, chosen = score, (C, class_weight)
                self.report.update(C=C, chosen_by_worst_group_accuracy=score[0], chosen_by_group_mean_accuracy=score[1])
                if class_weight is not None:
                    self.report.update(weighted_class=float(label), class_weight=factor)
        return chosen

    def _class_weights(self) -> Iterator[tuple[int, float, Tensor | None]]:
        """Yield a class, the factor of its weight, and the weights (K,) of all; none without a weight first."""
        yield 0, 1.0, None
        if self.params.data == "train" and self.task.num_classes == 2:
            for label, factor in itertools.product((0, 1), CLASS_WEIGHTS[1:]):
                yield label, factor, torch.where(torch.arange(2) == label, factor, 1.0)

    def _fit(self, features: Tensor, target: Tensor, C: float, class_weight: Tensor | None) -> tuple[Tensor, Tensor]:
        return fit_l1_logistic(features, target, self.task.num_classes, C, class_weight)
