"""Mixing the images of a batch with partners, and the loss of what comes out."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ncbench import Method


def draws_of_step(method: Method, purpose: str) -> np.random.Generator:
    """Return a generator for one step, a function of the seed and the position: a resumed run draws the same."""
    at = method.progress
    seed = method.task.generator(f"{purpose} {at.stage} {at.epoch} {at.step}").initial_seed()
    return np.random.default_rng(seed)


def draw_partners(fits: Tensor, draws: np.random.Generator) -> Tensor:
    """Return a partner of each image drawn from those that fit, the image itself where none does: (N,) int64.

    Args:
        fits: (N, N) bool, whether image j may be the partner of image i.
        draws: Of the partners.
    """
    score = torch.from_numpy(draws.random(fits.shape)).to(fits.device)
    found = torch.where(fits, score, -1.0).argmax(dim=1)
    return torch.where(fits.any(dim=1), found, torch.arange(len(fits), device=fits.device))


def mix(images: Tensor, partner: Tensor, share: Tensor) -> Tensor:
    """Return s x + (1 - s) x' of each image.

    Args:
        images: (N, ...), x.
        partner: (N,) int64, the position of x' in the batch.
        share: (N,), s.
    """
    share = share.reshape(-1, *(1,) * (images.dim() - 1)).to(images)
    return share * images + (1 - share) * images[partner]


def cut_mix(images: Tensor, partner: Tensor, share: Tensor, draws: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Return images in which a box at a random place is the partner's (Yun et al., ICCV 2019).

    Args:
        images: (N, C, H, W).
        partner: (N,) int64, the position of the partner in the batch.
        share: (N,), of the pixels that are to be left; a box reaches over the border, where it is cut off.
        draws: Of the boxes' centres.

    Returns:
        The images, and the share of its pixels that each one has kept: (N,).
    """
    number, _, *size = images.shape
    inside = torch.ones((number, 1, 1), dtype=torch.bool, device=images.device)
    for axis, length in enumerate(size):
        half = (length * (1 - share).sqrt()).long()[:, None] // 2  # (N, 1)
        centre = torch.from_numpy(draws.integers(length, size=(number, 1))).to(images.device)
        place = torch.arange(length, device=images.device)  # (H,) or (W,)
        along = (place >= centre - half) & (place < centre + half)  # (N, H) or (N, W)
        inside = inside & along.unsqueeze(2 - axis)
    kept = 1 - inside.to(images).mean(dim=(1, 2))
    return torch.where(inside[:, None], images[partner], images), kept


def mixed_cross_entropy(logits: Tensor, target: Tensor, partner: Tensor, share: Tensor) -> Tensor:
    """Return the mean of s CE(z, y) + (1 - s) CE(z, y'), the cross-entropy with the mixed label.

    Args:
        logits: (N, K), of the mixed images.
        target: (N,) int64, y.
        partner: (N,) int64, the position of the partner in the batch.
        share: (N,), s.
    """
    own = F.cross_entropy(logits, target, reduction="none")
    other = F.cross_entropy(logits, target[partner], reduction="none")
    share = share.to(own)
    return (share * own + (1 - share) * other).mean()
