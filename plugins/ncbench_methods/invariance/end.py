"""EnD: features of one attribute value are disentangled, and those of one class with different values entangled."""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from ncbench import Batch, LogUniform, Method, Parameters
from ncbench_methods.precision import at_least_float32


class EnDParameters(Parameters):
    """Parameters of :class:`EnD`."""

    alpha: float = Field(1.0, ge=0, description="weight of the disentangling term, of images with one attribute value")
    beta: float = Field(1.0, ge=0, description="weight of the entangling term, of one class with different values")


class EnD(Method):
    """Minimise CE + alpha R_disentangle + beta R_entangle (Tartaglione et al., CVPR 2021, section 3).

    With f = h / |h| and the sums over pairs i < j of the batch's images,

        R_disentangle = sum_b |sum of f_i.f_j over the pairs of attribute b| / pairs of equal attribute
        R_entangle = 1 - mean of (1 + f_i.f_j) / 2 over the pairs of equal class and different attribute,

    each 0 where there are no such pairs. The form is the published code's: the modulus is outside the sum over the
    pairs of one value. That code drops, by the order of the batch, about half of the pairs of R_entangle; here all
    count. In VB-Mitigator a later line overwrites this loss by the cross-entropy, so that its `end` is erm.
    The defaults are VB-Mitigator's. Where the attribute all but determines the class, R_disentangle sets the images of
    one class apart, against the cross-entropy, which features after a ReLU can only do on units of their own: they may
    end near chance where these weights are large. A search goes down to 0.01.

    Supervision: the bias attribute of training images.
    """

    Parameters = EnDParameters
    learns_features = True
    consumes_groups = True
    alternative = "Use a method that needs none: lff or jtt."
    search_space: ClassVar = {
        **Method.search_space,
        "method.alpha": LogUniform(0.01, 10),
        "method.beta": LogUniform(0.01, 10),
    }

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the mean cross-entropy and the two weighted terms."""
        features = self.features(batch.images)
        with torch.autocast(features.device.type, enabled=False):
            disentangle, entangle = end_terms(at_least_float32(features), batch.target, batch.bias, self.task.num_bias)
        return {
            "cross_entropy": F.cross_entropy(self.classify(features), batch.target),
            "disentangle": self.params.alpha * disentangle,
            "entangle": self.params.beta * entangle,
        }


def end_terms(features: Tensor, target: Tensor, bias: Tensor, num_bias: int) -> tuple[Tensor, Tensor]:
    """Return R_disentangle and R_entangle of a batch.

    Args:
        features: (N, d), of any length.
        target: (N,) int64.
        bias: (N,) int64 in 0..B-1.
        num_bias: B.
    """
    unit = F.normalize(features, dim=1)
    pairs = (unit @ unit.T).triu(diagonal=1)  # (N, N), f_i.f_j of the pairs i < j
    counted = torch.ones_like(pairs).triu(diagonal=1)
    has = F.one_hot(bias, num_bias).to(pairs)  # (N, B)
    same_bias = has @ has.T
    of_each_value = (has * (pairs @ has)).sum(dim=0)  # (B,)
    disentangle = of_each_value.abs().sum() / (same_bias * counted).sum().clamp_min(1)
    entangled = (target[:, None] == target) * (1 - same_bias) * counted
    number = entangled.sum()
    distance = (entangled * (1 - pairs) / 2).sum() / number.clamp_min(1)  # 1 - (1 + G) / 2 = (1 - G) / 2
    return disentangle, distance
