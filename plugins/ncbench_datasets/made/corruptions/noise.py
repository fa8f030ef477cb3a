"""Noise of single values: Gaussian, shot, impulse and speckle."""

from __future__ import annotations

import numpy as np

from ncbench_datasets.made.corruptions.pixels import Streams, draw, grey_levels, unit

GAUSSIAN_SIGMA = (0.04, 0.06, 0.08, 0.09, 0.10)
SHOT_PHOTONS = (500, 250, 100, 75, 50)
IMPULSE_SHARE = (0.01, 0.02, 0.03, 0.05, 0.07)
SPECKLE_SIGMA = (0.06, 0.1, 0.12, 0.16, 0.2)


def gaussian_noise(images: np.ndarray, severity: int, streams: Streams) -> np.ndarray:
    """Add a normal variable to every value."""
    normal = draw(streams, lambda stream: stream.standard_normal(images.shape[1:]))
    return grey_levels(unit(images) + GAUSSIAN_SIGMA[severity - 1] * normal)


def shot_noise(images: np.ndarray, severity: int, streams: Streams) -> np.ndarray:
    """Replace every value x by a Poisson variable of mean c x, divided by c."""
    photons = SHOT_PHOTONS[severity - 1]
    counts = np.stack([stream.poisson(image * photons) for stream, image in zip(streams, unit(images), strict=True)])
    return grey_levels(counts / photons)


def impulse_noise(images: np.ndarray, severity: int, streams: Streams) -> np.ndarray:
    """Replace a share of the values by 0 or 1, either with equal chance."""
    share = IMPULSE_SHARE[severity - 1]
    uniform = draw(streams, lambda stream: stream.random_sample(images.shape[1:]))
    return np.where(uniform < share, np.where(uniform < share / 2, 0, 255), images).astype(np.uint8)


def speckle_noise(images: np.ndarray, severity: int, streams: Streams) -> np.ndarray:
    """Add to every value x a normal variable times x."""
    normal = draw(streams, lambda stream: stream.standard_normal(images.shape[1:]))
    return grey_levels(unit(images) * (1 + SPECKLE_SIGMA[severity - 1] * normal))
