"""BAdd: the features of the bias attribute are added in training, so that there is no need to learn them."""

from __future__ import annotations

from typing import ClassVar

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from ncbench import Batch, Method, Uniform
from ncbench_methods.invariance.attribute_network import AttributeNetworkParameters, BesideAttributeNetwork


class BAddParameters(AttributeNetworkParameters):
    """Parameters of :class:`BAdd`."""

    m: float = Field(1.0, ge=0, description="factor of the attribute's features")


class BAdd(BesideAttributeNetwork):
    """Train on CE(W (h + m h_b) + c, y) and predict by W h + c (Sarridis et al., 2024, bias addition).

    h_b are the features of a frozen network that was trained on the bias attribute. As they explain what the attribute
    says of y, h is left with the rest; at test time they are left out. It is `shortcut_prime` with primes that were
    learned, and that depend on the image. Form and m = 1 are those of VB-Mitigator, by the same authors (m is 0.5 for
    each of two attributes there).

    Supervision: the bias attribute of training images.
    """

    Parameters = BAddParameters
    learns_features = True
    search_space: ClassVar = {**Method.search_space, "method.m": Uniform(0.25, 2)}

    def loss_beside(self, of_attribute: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Return the mean cross-entropy beside the attribute's features."""
        features = self.features(batch.images) + self.params.m * of_attribute
        return {"cross_entropy": F.cross_entropy(self.classify(features), batch.target)}
