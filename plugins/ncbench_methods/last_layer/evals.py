"""EVaLS: the last layer of an erm, fitted on its easiest and its hardest held-out images."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from ncbench import Method, Parameters, SplitView, Supervision
from ncbench_methods.balancing.cells import cell_of
from ncbench_methods.invariance.environments import scale_gradients
from ncbench_methods.last_layer.fixed_features import LastLayer, fits_on_val, group_accuracies, halves

CANDIDATES = (5, 10, 20, 50, 100, 200, 500)
"""Values of k that are tried, as far as the smallest class has 2 k images."""
_EPOCHS, _DROP = 100, 85


class EVaLSParameters(Parameters):
    """Parameters of :class:`EVaLS`."""

    k: int | None = Field(
        None, ge=1, description="images of a class with the highest loss, and with the lowest; None: the best of some"
    )
    choose: Literal["group", "environment"] = Field(
        "group",
        description="what k is the best for: the worst group, or the worst inferred environment, without labels",
    )
    lr: float = Field(5e-4, gt=0, description="learning rate of Adam")
    batch_size: int = Field(128, ge=1, description="images a step")


class EVaLS(LastLayer):
    """Fit a new last layer on images with the highest and the lowest loss (Ghaznavi et al., 2024).

    Half of the validation images is ranked by the erm's cross-entropy, class by class; the k with the highest loss,
    which the bias misleads, and the k with the lowest make a set that is nearly balanced over groups. A last layer is
    drawn anew and trained on it by Adam for 100 epochs, with a tenth of the learning rate from epoch 85 on. Of k = 5,
    10, 20, 50, 100, 200 and 500, unless it is given, the best is kept by the worst group of the other half, ties by the
    mean, then by the smallest k; or, with `choose=environment` and without any labels, by the worst of the two
    environments between which the erm violates invariance the most: images on which scaling its logits up would raise
    the loss, and the others (eiil's optimum). A class with fewer than 2 k images gives all it has.

    The published code was not found: the values of k and the batches are ncbench's. Supervision: the bias attribute of
    validation images; their targets alone with `choose=environment`, or where k is given.
    """

    Parameters = EVaLSParameters
    alternative = "Run evals:choose=environment, which needs validation images alone."
    search_space: ClassVar = {"method.lr": (1e-4, 5e-4, 1e-3)}

    @classmethod
    def supervision(cls, params: EVaLSParameters, declared: Supervision) -> Supervision:
        """Return what is declared, or nothing where no group chooses."""
        return declared if params.k is None and params.choose == "group" else Supervision()

    @classmethod
    def without_val(cls, params: EVaLSParameters) -> str:
        """Return that there is nothing to fit on."""
        return fits_on_val("evals")

    def start_from(self, base: Method) -> None:
        """Take over the backbone, and the classifier that ranks images."""
        super().start_from(base)
        self.classifier.load_state_dict(base.classifier.state_dict())

    def finish(self, train: SplitView, val: SplitView | None) -> None:
        """Rank the images, and fit a last layer for each k."""
        assert val is not None  # or it would have been refused
        features, target = self.features_of(val), val.target
        weight, bias = self.classifier.weight.detach().double(), self.classifier.bias.detach().double()
        logits = features @ weight.T + bias
        fitting, choosing = (half.to(target.device) for half in halves(len(val), self.task.generator("evals")))
        loss = F.cross_entropy(logits[fitting], target[fitting], reduction="none")
        if self.params.k is not None:
            self.set_classifier(*self._fit(features, target, fitting[extremes(loss, target[fitting], self.params.k)]))
            return
        by_group = self.params.choose == "group"
        cell = cell_of(val, self.task, "group") if by_group else (scale_gradients(logits, target) > 0).long()
        best = (-1.0, -1.0)
        for k in candidates(target[fitting]):
            weight, bias = self._fit(features, target, fitting[extremes(loss, target[fitting], k)])
            score = group_accuracies(features[choosing] @ weight.T + bias, target[choosing], cell[choosing])
            if score > best:
                best = score
                self.set_classifier(weight, bias)
                self.report.update({"k": k, f"chosen_by_worst_{self.params.choose}_accuracy": score[0]})

    def _fit(self, features: Tensor, target: Tensor, chosen: Tensor) -> tuple[Tensor, Tensor]:
        """Return the last layer fitted to the images at `chosen`: (K, d) and (K,) float64."""
        generator = self.task.generator("evals fit")
        bound = features.shape[1] ** -0.5  # as nn.Linear draws
        shapes = (self.task.num_classes, features.shape[1]), (self.task.num_classes,)
        drawn = [bound * (2 * torch.rand(shape, generator=generator, dtype=torch.float64) - 1) for shape in shapes]
        weight, bias = (each.to(features).requires_grad_() for each in drawn)
        optimizer = torch.optim.Adam([weight, bias], lr=self.params.lr)
        for epoch in range(_EPOCHS):
            optimizer.param_groups[0]["lr"] = self.params.lr * (0.1 if epoch >= _DROP else 1)
            order = chosen[torch.randperm(len(chosen), generator=generator).to(chosen.device)]
            for index in order.split(self.params.batch_size):
                optimizer.zero_grad()
                F.cross_entropy(features[index] @ weight.T + bias, target[index]).backward()
                optimizer.step()
        return weight.detach(), bias.detach()


def candidates(target: Tensor) -> list[int]:
    """Return the values of k that are tried where images have these targets: (n,) int64."""
    half = int(torch.bincount(target)[target].min()) // 2
    return [k for k in CANDIDATES if k <= half] or [max(1, half)]


def extremes(loss: Tensor, target: Tensor, k: int) -> Tensor:
    """Return, class by class, the positions of the k highest and the k lowest losses, of equal ones the first.

    Args:
        loss: (n,).
        target: (n,) int64.
        k: A class with fewer than 2 k images gives all of them.

    Returns:
        (m,) int64, each position once.
    """
    found = []
    for label in target.unique():
        of_class = (target == label).nonzero()[:, 0]
        ranked = of_class[loss[of_class].argsort(descending=True, stable=True)]
        found.append(torch.cat([ranked[:k], ranked[max(k, len(ranked) - k) :]]))
    return torch.cat(found)
