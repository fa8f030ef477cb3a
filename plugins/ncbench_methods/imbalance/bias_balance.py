"""Bias-balanced loss: the logarithm of the classes' prior given the bias attribute is added while training."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor

from ncbench import Batch, Method, Parameters
from ncbench_methods.conditional_prior import log_conditional, prior_adjusted_cross_entropy


class BiasBalanceParameters(Parameters):
    """Parameters of :class:`BiasBalance`."""

    eta: float = Field(1.0, ge=0, description="strength of the adjustment; 1 is the paper's")


class BiasBalance(Method):
    """Minimise the cross-entropy of f_c(x) + eta log pi(c | b) (Hong and Yang, NeurIPS 2021).

    pi(c | b) is the share of class c among the training images with the attribute value b. Predictions use f alone,
    which suits data in which target and attribute are independent. With one attribute value it is `logit_adjustment`
    at tau = eta, and where classes are equally frequent and independent of the attribute it is erm.

    A group without training images is taken to have one. Supervision: the bias attribute of training images.
    """

    Parameters = BiasBalanceParameters
    consumes_groups = True
    alternative = "Use logit_adjustment, which needs none."
    log_prior: Tensor

    def build(self) -> None:
        """Create the network and the prior of the classes for each attribute value."""
        super().build()
        self.register_buffer("log_prior", log_conditional(self.task.group_counts).float())  # (B, K)

    def loss(self, batch: Batch) -> Tensor:
        """Return the mean cross-entropy of the adjusted logits."""
        log_prior = self.log_prior[batch.bias]
        return prior_adjusted_cross_entropy(self(batch.images), log_prior, batch.target, self.params.eta).mean()
