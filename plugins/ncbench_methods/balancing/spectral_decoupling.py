"""Spectral decoupling: a penalty on the logits that keeps learned features from starving the others."""

from __future__ import annotations

from typing import ClassVar

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from ncbench import Batch, LogUniform, Method, Parameters
from ncbench_methods.precision import at_least_float32


class SpectralDecouplingParameters(Parameters):
    """Parameters of :class:`SpectralDecoupling`."""

    penalty: float = Field(0.01, ge=0, description="lambda, the strength of the penalty on the logits")


class SpectralDecoupling(Method):
    """Minimise CE(f(x), y) + lambda / 2 |f(x)|^2 (Pezeshki et al., NeurIPS 2021).

    Cross-entropy stops teaching an image as soon as an easy feature explains it. The penalty on the logits f(x) keeps
    the gradients of all features alive. The paper uses it in place of weight decay: set recipe.weight_decay=0. Others
    write it otherwise: DomainBed's 0.1 is of the mean over images and classes, which is lambda = 0.2 / K here.
    lambda = 0 is erm. A search tries no weight decay, and DomainBed's range for lambda.

    Supervision: none.
    """

    Parameters = SpectralDecouplingParameters
    search_space: ClassVar = {
        **Method.search_space,
        "recipe.weight_decay": (0.0,),
        "method.penalty": LogUniform(1e-5, 1e-1),
    }

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the mean cross-entropy and the mean penalty."""
        logits = self(batch.images)  # (N, K)
        return {
            "cross_entropy": F.cross_entropy(logits, batch.target),
            "penalty": self.params.penalty / 2 * at_least_float32(logits).square().sum(dim=1).mean(),
        }
