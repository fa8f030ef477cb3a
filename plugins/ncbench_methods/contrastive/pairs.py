"""What contrastive methods share: a loss of weighted pairs, and draws in which rare images are not so rare."""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from ncbench import Batch, Method, Parameters, SplitView
from ncbench_methods.precision import at_least_float32


def masked_supcon(features: Tensor, mask: Tensor, temperature: float) -> Tensor:
    """Return the supervised contrastive loss of weighted pairs (Khosla et al., NeurIPS 2020, eq. 2).

    With unit features f and s_ij = f_i . f_j / tau, the mean over all i of

        -sum_j m_ij (s_ij - log sum_{k != i} exp s_ik) / sum_j m_ij,

    which is 0 for an image without pairs.

    Args:
        features: (M, d), of any length.
        mask: (M, M) weights m of the pairs, not negative; the diagonal counts as 0.
        temperature: tau.

    Returns:
        A scalar.
    """
    itself = torch.eye(len(features), dtype=torch.bool, device=features.device)
    unit = F.normalize(features, dim=1)
    log_p = (unit @ unit.T / temperature).masked_fill(itself, torch.finfo(unit.dtype).min).log_softmax(dim=1)
    weight = mask.to(unit).masked_fill(itself, 0)
    total = weight.sum(dim=1)
    losses = -(weight * log_p.masked_fill(itself, 0)).sum(dim=1) / torch.where(total > 0, total, 1.0)
    return losses.mean()


class ContrastiveParameters(Parameters):
    """Parameters of methods that contrast pairs."""

    ce_weight: float = Field(0.01, gt=0, description="weight of the cross-entropy beside the contrastive loss")
    temperature: float = Field(0.07, gt=0, description="tau, by which similarities are divided")
    ratio: float = Field(
        10.0, ge=1, description="how much oftener than the commonest an image may be drawn; 1 draws each image once"
    )


class Contrastive(Method):
    """Cross-entropy and a contrastive loss on two augmentations of every image.

    Images are drawn with weights, so that there are pairs of rare ones; each image's cross-entropy is divided by how
    much oftener it is drawn, so that its mean is the training images' as ever.
    """

    learns_features = True
    views: ClassVar[int] = 2
    draw_weight: Tensor

    def order(self, train: SplitView, generator: torch.Generator) -> Tensor:
        """Return N images drawn by their weights; every image once where they are all equal."""
        weight = self.draw_weight.cpu()
        if (weight == weight[0]).all():
            return torch.randperm(len(train), generator=generator)
        return torch.multinomial(weight.double(), len(train), replacement=True, generator=generator)

    def contrasted(self, batch: Batch, mask: Tensor, log_prior: Tensor | None = None) -> dict[str, Tensor]:
        """Return the weighted cross-entropy and the contrastive loss.

        Args:
            batch: With two views.
            mask: (N, N), weights of the pairs of images; both views of an image have the image's.
            log_prior: (N, K), what is added to the logits in the cross-entropy, if anything is.
        """
        views = len(batch.views)
        features = self.features(batch.views.flatten(0, 1))  # (V N, d)
        logits = self.classify(features)
        if log_prior is not None:
            logits = logits + log_prior.to(logits).repeat(views, 1)
        losses = F.cross_entropy(logits, batch.target.repeat(views), reduction="none")
        rarity = self.draw_weight.mean() / self.draw_weight[batch.index]  # (N,)
        with torch.autocast(features.device.type, enabled=False):
            contrast = masked_supcon(at_least_float32(features), mask.repeat(views, views), self.params.temperature)
        return {
            "cross_entropy": self.params.ce_weight * (rarity.to(losses).repeat(views) * losses).mean(),
            "contrast": contrast,
        }


def capped(weight: Tensor, ratio: float) -> Tensor:
    """Return weights (N,) cut off at so many times the smallest; all 1 where that is 0."""
    least = weight.min()
    return torch.where(least > 0, weight.clamp_max(ratio * least), 1.0)
