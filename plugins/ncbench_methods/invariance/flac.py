"""FLAC: images that the bias attribute sets apart are drawn together, and those that it brings together set apart."""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from ncbench import Batch, LogUniform, Method
from ncbench_methods.invariance.attribute_network import AttributeNetworkParameters, BesideAttributeNetwork
from ncbench_methods.invariance.environments import squared_distances
from ncbench_methods.precision import at_least_float32


class FLACParameters(AttributeNetworkParameters):
    """Parameters of :class:`FLAC`."""

    weight: float = Field(110.0, ge=0, description="weight alpha of the divergence")
    power: float = Field(
        0.5, gt=0, le=4, description="exponent d of the distances in the similarity 1 / (1 + distance^d)"
    )


class FLAC(BesideAttributeNetwork):
    """Minimise CE + alpha D, D between similarities of h and of the bias attribute (Sarridis et al., TPAMI 2024).

    The similarity of two images is s = 1 / (1 + |h_i - h_j|^d), and s_b that of a frozen network's features, which was
    trained on the attribute. The pairs that count are those of one class with s_b below the middle between the batch's
    smallest and largest, and those of two classes with s_b above it. On them, with 1 - s_b and s divided by their sum
    over each image's pairs, D is the mean of the terms of Jeffreys' divergence, (p - q)(log p - log q); 0 without any.
    Where the attribute says that they differ, images of a class become similar, and the other way round.

    Distances are those of the published code: of features as they are, with the root of |h_i - h_j|^2 + 1e-6. In its
    README the weight is 110 on Biased-MNIST with 1 % of conflicting images, which is the default here, up to 10,000
    with 0.1 %, and 30,000 for the blond of CelebA, with d = 0.5 and 128 images a batch. VB-Mitigator has unit features,
    d = 1, and 1000 on Waterbirds and CelebA. The authors' network of the attribute was trained on other data. D is of
    the order of 1 / N in a batch of N images, so that the weight goes with the size of the batch: too large a one
    leaves the cross-entropy where it starts, as 1000 does with 32 images. So a search begins at 1.

    Supervision: the bias attribute of training images.
    """

    Parameters = FLACParameters
    learns_features = True
    search_space: ClassVar = {**Method.search_space, "method.weight": LogUniform(1, 30000)}

    def loss_beside(self, of_attribute: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Return the mean cross-entropy and the weighted divergence."""
        features = self.features(batch.images)
        with torch.autocast(features.device.type, enabled=False):
            compared = (at_least_float32(each) for each in (features, of_attribute))
            divergence = flac_divergence(*compared, batch.target, self.params.power)
        return {
            "cross_entropy": F.cross_entropy(self.classify(features), batch.target),
            "divergence": self.params.weight * divergence,
        }


def flac_divergence(features: Tensor, of_attribute: Tensor, target: Tensor, power: float) -> Tensor:
    """Return D of a batch.

    Args:
        features: (N, d), h.
        of_attribute: (N, d'), the features of the attribute, without gradient.
        target: (N,) int64, the class.
        power: The exponent of the distances.
    """
    distance, of_bias = ((squared_distances(each) + 1e-6).pow(power / 2) for each in (features, of_attribute))
    similarity, by_attribute = 1 / (1 + distance), 1 / (1 + of_bias)  # (N, N)
    middle = (by_attribute.max() + by_attribute.min()) / 2
    same_class = target[:, None] == target
    counted = torch.where(same_class, by_attribute < middle, by_attribute > middle).to(similarity)
    # 1 - s_b = of_bias / (1 + of_bias), in which nothing is lost where the attributes are alike
    q, p = (each / ((each * counted).sum(dim=1, keepdim=True) + 1e-7) for each in (similarity, of_bias * by_attribute))
    return (counted * (p - q) * (p.log() - q.log())).sum() / counted.sum().clamp_min(1)
