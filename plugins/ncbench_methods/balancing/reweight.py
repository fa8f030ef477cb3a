"""Cross-entropy with every group, or every class, at a weight that follows from its count."""

from __future__ import annotations

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from ncbench import Batch, ConfigurationError, Method, Parameters, Supervision
from ncbench_methods.balancing.cells import By, To, cell_of, cell_weights, supervision_by


class ReweightParameters(Parameters):
    """Parameters of :class:`Reweight`."""

    by: By = Field("group", description="what weighs the same: groups (target, bias), or classes")
    power: float = Field(1.0, ge=0, le=1, description="of the inverse counts; 0 weighs every image the same")
    to: To = Field("uniform", description="every group the same, or as if target and bias were independent")


class Reweight(Method):
    """Minimise the mean of w_c l over the batch's images, w_c = N / (C n_c) for an image of cell c.

    C is the number of cells that have training images and n_c how many this one has, so that every cell contributes
    the same in expectation and the weights' mean over the training images is 1: the learning rate keeps its meaning.
    The weights are those of the training set, not of the batch. As RWG and RWY in Idrissi et al. (CLeaR 2022), who
    draw instead of weighting: that is `resample`.

    `to=independence` takes w = n_y n_a / (N n_ya) instead, the reweighing of Kamiran and Calders (KAIS 2012): classes
    stay as frequent as they are, and the attribute no longer tells them. `power` is an exponent of either ratio, before
    the weights are scaled to mean 1; at 0 the method is erm.

    Supervision: the bias attribute of training images; none with `by=class`.
    """

    Parameters = ReweightParameters
    consumes_groups = True
    alternative = "Run reweight:by=class, which needs none."
    cell_weight: Tensor

    @classmethod
    def supervision(cls, params: ReweightParameters, declared: Supervision) -> Supervision:
        """Return what is declared, or nothing for classes."""
        return supervision_by(params.by, declared)

    def build(self) -> None:
        """Create the network and the weight of each cell.

        Raises:
            ConfigurationError: Classes are to be independent of themselves.
        """
        if self.params.by == "class" and self.params.to == "independence":
            raise ConfigurationError("to=independence is of groups, not of classes: leave out by=class.")
        super().build()
        self.register_buffer(
            "cell_weight", cell_weights(self.task, self.params.by, self.params.power, self.params.to)
        )  # (C,)

    def loss(self, batch: Batch) -> Tensor:
        """Return the mean weighted cross-entropy."""
        weight = self.cell_weight[cell_of(batch, self.task, self.params.by)]
        return (weight * F.cross_entropy(self(batch.images), batch.target, reduction="none")).mean()


class SqrtReweightParameters(ReweightParameters):
    """Parameters of :class:`SqrtReweight`."""

    power: float = Field(0.5, ge=0, le=1, description="of the inverse counts; 0 weighs every image the same")


class SqrtReweight(Reweight):
    """`reweight` with w_c proportional to n_c^(-1/2): half the way, in logarithms, from erm to equal cells.

    As SqrtReWeight of Yang et al. (SubpopBench, ICML 2023), after Japkowicz (2000). The weights have mean 1 over the
    training images; SubpopBench's have mean 1 over the cells, which is another learning rate.

    Supervision: the bias attribute of training images; none with `by=class`.
    """

    Parameters = SqrtReweightParameters
    alternative = "Run sqrt_reweight:by=class, which needs none."
