"""What the corruptions share: scales, random streams, and smoothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from scipy import ndimage

SIDE = 32
Streams = Sequence[np.random.RandomState]
"""A random stream for each image of a batch."""


def unit(images: np.ndarray, dtype: type[np.floating] = np.float64) -> np.ndarray:
    """Return uint8 images as floating-point numbers in [0, 1]."""
    return images.astype(dtype) / dtype(255)


def grey_levels(values: np.ndarray) -> np.ndarray:
    """Return values in [0, 1] as uint8: what is outside is clamped, and fractions are cut off, as published."""
    return np.asarray(np.clip(values, 0, 1) * 255).astype(np.uint8)


def filtered_levels(values: np.ndarray) -> np.ndarray:
    """Return what a filter made as uint8, as :func:`grey_levels` does but for a hair (1e-6 of a level) that is added.

    A filter's sums are off by rounding errors, which differ between processors: without the hair, an area of one grey
    level would be one level darker on some of them.
    """
    return np.asarray(np.clip(values, 0, 1) * 255 + 1e-6).astype(np.uint8)


def draw(streams: Streams, sample: Callable[[np.random.RandomState], np.ndarray]) -> np.ndarray:
    """Draw from the stream of each image: (N, ...)."""
    return np.stack([sample(stream) for stream in streams])


def smooth(batch: np.ndarray, sigma: float, mode: str = "nearest", truncate: float = 4.0) -> np.ndarray:
    """Blur the rows and columns of (N, H, W) or (N, H, W, C) by a Gaussian, as scikit-image does.

    Args:
        batch: The images.
        sigma: Standard deviation, in pixels.
        mode: How images go on beyond their edges.
        truncate: Where the kernel ends, in standard deviations.
    """
    sigmas = (0, sigma, sigma, 0)[: batch.ndim]
    blurred: np.ndarray = ndimage.gaussian_filter(batch, sigmas, mode=mode, truncate=truncate)
    return blurred
