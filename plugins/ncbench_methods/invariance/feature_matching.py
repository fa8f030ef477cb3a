"""MMD and CORAL: features that are distributed alike in all environments."""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from ncbench import Batch, LogUniform, Method
from ncbench_methods.invariance.environments import (
    ComparesEnvironments,
    EnvironmentParameters,
    Environments,
    squared_distances,
)
from ncbench_methods.precision import at_least_float32

_SHARPNESS = (1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0, 1000.0)


class FeatureMatchingParameters(EnvironmentParameters):
    """Parameters of :class:`MMD` and :class:`CORAL`."""

    weight: float = Field(1.0, ge=0, description="weight of the features' discrepancy between environments")


class MMDParameters(FeatureMatchingParameters):
    """Parameters of :class:`MMD`."""

    unbiased: bool = Field(
        False, description="leave the images' kernels with themselves out of the means within an environment"
    )


class _MatchesFeatures(ComparesEnvironments):
    Parameters = FeatureMatchingParameters
    learns_features = True
    search_space: ClassVar = {**Method.search_space, "method.weight": LogUniform(0.1, 10)}  # DomainBed, SubpopBench

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the mean cross-entropy and the weighted mean discrepancy of pairs of environments."""
        features = self.features(batch.images)
        cross_entropy = F.cross_entropy(self.classify(features), batch.target)
        with torch.autocast(features.device.type, enabled=False):
            discrepancy = self.discrepancy(at_least_float32(features), self.environments(batch))
        return {"cross_entropy": cross_entropy, "discrepancy": self.params.weight * discrepancy}

    def discrepancy(self, features: Tensor, environments: Environments) -> Tensor:
        """Return the mean over pairs of environments of how differently their features (N, d) are distributed."""
        raise NotImplementedError


class MMD(_MatchesFeatures):
    """Minimise CE + w mean over pairs of environments of MMD^2(h | e, h | e') (Li et al., CVPR 2018).

    The squared maximum mean discrepancy is mean k(h, h) + mean k(h', h') - 2 mean k(h, h'), where the means take in
    the images' kernels with themselves and k = sum_g exp(-g |h - h'|^2) over g = 0.001, 0.01, ..., 1000. Kernels and
    weight are those of DomainBed and SubpopBench; the paper's adversarial autoencoder around it is left out there and
    here. Pairs are those of the environments that are present in the batch.

    Each of the first two means is too large by up to 7 / n for n images of its environment in the batch, a pair by the
    sum of both, and equal features of all images are what takes that away: with a few images each, they collapse.
    `unbiased=true` leaves k(h, h) out of the first two means (Gretton et al., JMLR 2012, eq. 3), and an environment
    with a single image out of the pairs. Either way, features with one distribution in all environments cannot tell
    classes whose frequency differs between them: where the attribute all but determines the class, they may collapse
    without the excess, and a smaller weight is needed.

    Supervision: the bias attribute of training images, whose values are the environments.
    """

    Parameters = MMDParameters

    def discrepancy(self, features: Tensor, environments: Environments) -> Tensor:
        """Return the mean squared maximum mean discrepancy of two environments."""
        distances = squared_distances(features)
        kernel = torch.stack([torch.exp(-sharpness * distances) for sharpness in _SHARPNESS]).sum(dim=0)  # (N, N)
        between = environments.means(environments.means(kernel).T)  # (E, E), the mean kernel of two environments
        within, count = between.diagonal(), environments.count
        if self.params.unbiased:
            within = (count * within - len(_SHARPNESS)) / (count - 1).clamp_min(1)  # k(h, h) = 1 for each sharpness
        present = count > (1 if self.params.unbiased else 0)
        pairs = (present[:, None] & present).triu(diagonal=1)
        squares = torch.where(pairs, within[:, None] + within - 2 * between, 0.0)
        return squares.sum() / pairs.sum().clamp_min(1)


class CORAL(_MatchesFeatures):
    """Minimise CE + w mean over pairs of environments of the distance of their features' moments (Sun, Saenko, 2016).

    The distance is mean_j (mu - mu')_j^2 + mean_jk (C - C')_jk^2, with the covariances C dividing by n - 1. That is the
    form of DomainBed, SubpopBench and WILDS, whose weight is 1 too; the paper has the covariances alone, divided by
    4 d^2. An environment with a single image in the batch has no covariance and is left out.

    Supervision: the bias attribute of training images, whose values are the environments.
    """

    def discrepancy(self, features: Tensor, environments: Environments) -> Tensor:
        """Return the mean distance of two environments' means and covariances."""
        means = environments.means(features)  # (E, d)
        centred = features - environments.belongs.to(features.dtype) @ means
        of_each = [centred * belongs[:, None] for belongs in environments.belongs.unbind(dim=1)]
        covariances = torch.stack([images.T @ images for images in of_each])  # (E, d, d)
        covariances = covariances / (environments.count - 1).clamp_min(1)[:, None, None]
        spread = environments.spread(means) + environments.spread(covariances.flatten(1))
        number = (environments.count >= 2).sum()
        # The mean of |a - b|^2 over pairs of E points is 2 / (E - 1) times the sum of |a - mean|^2.
        return 2 * number / (number - 1).clamp_min(1) * torch.where(number > 1, spread, 0.0)
