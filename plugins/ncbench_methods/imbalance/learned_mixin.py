"""Learned mixin: the classes' prior given the bias attribute is added as far as an image's features ask for it."""

from __future__ import annotations

from typing import ClassVar

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from ncbench import Batch, LogUniform, Method, Parameters
from ncbench_methods.conditional_prior import log_conditional, prior_adjusted_cross_entropy


class LearnedMixinParameters(Parameters):
    """Parameters of :class:`LearnedMixin`."""

    penalty: float = Field(0.03, ge=0, description="weight w of the entropy of the prior as it is added")


class LearnedMixin(Method):
    """Minimise CE(z + g log pi(. | b), y) + w H(softmax(g log pi(. | b))) (Clark et al., EMNLP 2019, section 3.2).

    pi(y | b), the bias-only model, is the share of class y among the training images with the attribute value b; a
    group without training images is taken to have one. g = softplus(v.h + c) says for each image how much of it is
    added, and its gradient reaches the features. Where g vanishes this is erm, which the entropy penalty (the paper's
    +H) counters: it keeps what is added from becoming uniform. `penalty=0` is without it. With g = 1 the first term is
    `bias_balance`. Predictions use z alone. As g may grow until the prior explains all images that follow the
    attribute, z then learns from the others alone: slowly, where these are few.

    The default of w is the published code's on MNLI; on its other data it is from 0.005 to 2, which a search tries.

    Supervision: the bias attribute of training images.
    """

    Parameters = LearnedMixinParameters
    consumes_groups = True
    alternative = "Use logit_adjustment, which needs none."
    search_space: ClassVar = {**Method.search_space, "method.penalty": LogUniform(0.005, 2)}
    log_prior: Tensor

    def build(self) -> None:
        """Create the network, what decides on its mixture, and the prior of the classes for each attribute value."""
        super().build()
        self.mixing = nn.Linear(self.backbone.feature_dim, 1)
        self.register_buffer("log_prior", log_conditional(self.task.group_counts).float())  # (B, K)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the mean cross-entropy of the mixture and the weighted entropy of what was added."""
        features = self.features(batch.images)
        share = F.softplus(self.mixing(features).to(self.log_prior))  # (N, 1)
        added = share * self.log_prior[batch.bias]  # (N, K)
        log_added = added.log_softmax(dim=1)
        entropy = -(log_added.exp() * log_added).sum(dim=1).mean()
        losses = prior_adjusted_cross_entropy(self.classify(features).to(added), added, batch.target)
        return {"mixture": losses.mean(), "entropy": self.params.penalty * entropy}
