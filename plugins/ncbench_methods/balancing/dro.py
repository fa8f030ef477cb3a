"""Distributionally robust losses: the worst weighting of a batch's images that stays near to equal weights."""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from ncbench import Batch, LogUniform, Method, Parameters


class CVaRDROParameters(Parameters):
    """Parameters of :class:`CVaRDRO`."""

    alpha: float = Field(0.1, gt=0, le=1, description="share of a batch's images, the worst ones, that counts")


class CVaRDRO(Method):
    """Minimise the mean of the share alpha of a batch's losses that is largest (Levy et al., NeurIPS 2020).

    Of m losses the floor(alpha m) largest weigh 1 / (alpha m) each and the next one what is left to 1; alpha m <= 1 is
    the largest alone, and alpha = 1 is erm. It is the supremum over weights that are at most 1 / (alpha m). A
    search tries 0.01 to 1 for alpha, as SubpopBench does.

    Supervision: none.
    """

    Parameters = CVaRDROParameters
    search_space: ClassVar = {**Method.search_space, "method.alpha": LogUniform(1e-2, 1.0)}

    def loss(self, batch: Batch) -> Tensor:
        """Return the mean of the largest losses."""
        losses = F.cross_entropy(self(batch.images), batch.target, reduction="none").sort(descending=True).values
        share = self.params.alpha * len(losses)
        rank = torch.arange(len(losses), dtype=losses.dtype, device=losses.device)
        return ((share - rank).clamp(0, 1) * losses).sum() / share


class Chi2DROParameters(Parameters):
    """Parameters of :class:`Chi2DRO`."""

    rho: float = Field(1.0, gt=0, description="how far the weights may be from equal ones, in chi-square divergence")


class Chi2DRO(Method):
    """Minimise the largest weighted sum of a batch's losses over weights p with mean((m p_i - 1)^2) / 2 <= rho.

    That is the chi-square ball of Levy et al. (NeurIPS 2020) and, but for the name of its radius, of Hashimoto
    et al. (ICML 2018). The supremum equals its dual, the minimum over eta of

        sqrt(1 + 2 rho) sqrt(mean((l_i - eta)_+^2)) + eta,

    and its weights are p_i proportional to (l_i - eta)_+ at that eta. The gradient is the losses' under these weights.
    A radius that reaches (m - 1) / 2 for m images takes the largest loss alone.

    A search tries radii from 0.1 to 10, which is this project's choice.

    Supervision: none.
    """

    Parameters = Chi2DROParameters
    search_space: ClassVar = {**Method.search_space, "method.rho": LogUniform(0.1, 10)}

    def loss(self, batch: Batch) -> Tensor:
        """Return the losses' sum under the worst weights."""
        losses = F.cross_entropy(self(batch.images), batch.target, reduction="none")
        return (worst_weights(losses.detach(), self.params.rho) * losses).sum()


def worst_weights(losses: Tensor, rho: float) -> Tensor:
    """Return the weights in the chi-square ball of radius `rho` under which the losses' sum is largest: (m,), sum 1.

    mean(u^2) / mean(u)^2 of u = (l - eta)_+ grows with eta, and is 1 + 2 rho at the eta that is looked for. So the
    losses at which it is less lie below eta; of the others, which are `active`, eta follows in closed form.
    """
    losses = losses - losses.max()  # equal ones are exactly 0 then
    bound = 1 + 2 * rho
    excess = (losses[:, None] - losses).clamp_min(0)  # (m, m): over each loss in turn
    below = excess.square().mean(dim=0) < bound * excess.mean(dim=0).square()
    active = (losses > torch.where(below, losses, -torch.inf).max()).to(losses)
    number = active.sum()
    mean = (active * losses).sum() / number
    variance = (active * (losses - mean).square()).sum() / number
    over_eta = (variance / (bound * number / len(losses) - 1)).sqrt()  # how much the active ones are, in the mean
    weight = active * (1 + (losses - mean) / over_eta.clamp_min(torch.finfo(losses.dtype).tiny)).clamp_min(0)
    return weight / weight.sum()
