"""Bias-contrastive loss: images of one class and of different values of the bias attribute are drawn together."""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from ncbench import Batch, Method, SplitView, Stage
from ncbench_methods.conditional_prior import log_conditional
from ncbench_methods.contrastive.pairs import Contrastive, ContrastiveParameters, capped


class BiasContrastiveParameters(ContrastiveParameters):
    """Parameters of :class:`BiasContrastive`."""

    balanced: bool = Field(False, description="whether the cross-entropy is bias_balance's")


class BiasContrastive(Contrastive):
    """Minimise w CE + SupCon over pairs of one class and of different attribute values (Hong and Yang, NeurIPS 2021).

    Both views of every image are anchors; the two views of one image are no pair, having one value. With
    `balanced=true` the cross-entropy is that of `bias_balance` ("BC + BB"). Where the attribute has one value, there
    are no pairs, and what is left is w CE.

    The published code takes the cross-entropy from a batch of its own, drawn evenly and without augmentation, and the
    pairs from another one, drawn with weights 1 / P(b | y), cut off at `ratio` (10 to 50) times the smallest. Here one
    batch is drawn so, and serves both: in the cross-entropy every image is weighted by the inverse, which leaves its
    expectation. The weight 0.01, the temperature and the ratio are that code's for Biased-MNIST, with Adam at 1e-3.
    Where there are few pairs the loss is hardly more than w CE: SGD takes w as a factor on the learning rate and 1 / w
    as one on the weight decay, which it does not scale. Adam divides it out but for the decay, and for gradients near
    its epsilon. Its CelebA is another split than ours.

    Supervision: the bias attribute of training images.
    """

    Parameters = BiasContrastiveParameters
    consumes_groups = True
    alternative = "Use softcon, which needs none."
    search_space: ClassVar = {
        **Method.search_space,
        "method.ce_weight": (0.01, 0.1, 1.0),
        "method.ratio": (10.0, 30.0, 50.0),
    }
    log_prior: Tensor

    def build(self) -> None:
        """Create the network and the prior of the classes, and room for the weights of the draws."""
        super().build()
        self.register_buffer("log_prior", log_conditional(self.task.group_counts).float())  # (B, K)
        self.register_buffer("draw_weight", torch.ones(self.task.num_train))  # (N,)

    def start_stage(self, stage: Stage, train: SplitView, val: SplitView | None) -> None:
        """Set the weights of the draws."""
        counts = self.task.group_counts.to(train.target.device)
        share = counts / counts.sum(dim=1, keepdim=True)  # P(b | y), of classes that have images
        self.draw_weight = capped(1 / share[train.target, train.bias], self.params.ratio).to(self.draw_weight)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the weighted cross-entropy and the contrastive loss."""
        same_class = batch.target[:, None] == batch.target
        other_value = batch.bias[:, None] != batch.bias
        log_prior = self.log_prior[batch.bias] if self.params.balanced else None
        return self.contrasted(batch, same_class & other_value, log_prior)
