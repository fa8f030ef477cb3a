"""Blurs: Gaussian, defocus, glass, motion and zoom."""

from __future__ import annotations

import math

import numpy as np
from scipy import ndimage

from ncbench_datasets.made.corruptions.pixels import SIDE, Streams, draw, filtered_levels, grey_levels, smooth, unit

GAUSSIAN_SIGMA = (0.4, 0.6, 0.7, 0.8, 1)
DEFOCUS = ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1))  # radius, sigma that softens the disk
GLASS = ((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2))  # sigma, greatest distance, passes
MOTION = ((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5))  # radius, sigma
ZOOM_END = (1.06, 1.11, 1.16, 1.21, 1.26)  # factors from 1 in steps of 0.01


def gaussian_blur(images: np.ndarray, severity: int, streams: Streams) -> np.ndarray:
    """Blur by a Gaussian."""
    return filtered_levels(smooth(unit(images), GAUSSIAN_SIGMA[severity - 1]))


def defocus_blur(images: np.ndarray, severity: int, streams: Streams) -> np.ndarray:
    """Blur by a disk with softened edges; the image is mirrored about its outermost pixels."""
    kernel = disk(*DEFOCUS[severity - 1])
    return filtered_levels(ndimage.correlate(unit(images), kernel[None, :, :, None], mode="mirror"))


def disk(radius: float, sigma: float) -> np.ndarray:
    """Return the kernel of :func:`defocus_blur`: (5, 5), its sum is 1.

    Args:
        radius: Of the disk, below 2 pixels.
        sigma: Of the Gaussian of three taps a direction that softens it.
    """
    offsets = np.arange(-2, 3)
    inside = (offsets[:, None] ** 2 + offsets**2 <= radius**2).astype(np.float32)
    taps = np.exp(-(np.arange(-1, 2) ** 2) / (2 * sigma**2))
    taps = (taps / taps.sum()).astype(np.float32)
    softened = ndimage.convolve1d(inside / inside.sum(), taps, axis=1, mode="constant")
    return np.asarray(ndimage.convolve1d(softened, taps, axis=0, mode="constant"))


def glass_blur(images: np.ndarray, severity: int, streams: Streams) -> np.ndarray:
    """Blur, let pixels take the colours of neighbours, blur again.

    Pixels change from the lower right to the upper left, each taking the colour that the one at a random offset of 0
    or -1 in either direction has by then. (The swap that this is meant to be, see the package's docstring.)
    """
    sigma, reach, passes = GLASS[severity - 1]
    shuffled = filtered_levels(smooth(unit(images), sigma))
    places = range(SIDE - reach, reach, -1)
    offsets = draw(streams, lambda stream: stream.randint(-reach, reach, (passes, len(places), len(places), 2)))
    every = np.arange(len(images))
    for turn in range(passes):
        for i, row in enumerate(places):
            for j, column in enumerate(places):
                across, down = offsets[:, turn, i, j, 0], offsets[:, turn, i, j, 1]
                shuffled[:, row, column] = shuffled[every, row + down, column + across]
    return filtered_levels(smooth(unit(shuffled), sigma))


def motion_blur(images: np.ndarray, severity: int, streams: Streams) -> np.ndarray:
    """Blur along a line of a random direction within 45 degrees of the horizontal."""
    angles = draw(streams, lambda stream: stream.uniform(-45, 45, ()))
    radius, sigma = MOTION[severity - 1]
    return along_lines(images, radius, sigma, angles)


def along_lines(batch: np.ndarray, radius: float, sigma: float, angles: np.ndarray) -> np.ndarray:
    """Blur each image along a line, as ImageMagick 6 (Q16) does: backwards only, and in steps of whole pixels.

    Sums are rounded to its 257 steps a grey level, which are cut off to grey levels when the image is written.

    Args:
        batch: (N, H, W, C) uint8.
        radius: Of the kernel: it has 2 radius + 1 taps.
        sigma: Of the half Gaussian that the taps are.
        angles: (N,) degrees.

    Returns:
        (N, H, W, C) uint8. Beyond its edges an image goes on with its outermost pixels.
    """
    width = 2 * math.ceil(radius) + 1
    taps = np.exp(-(np.arange(width) ** 2) / (2 * sigma**2))
    taps /= taps.sum()
    direction = np.deg2rad(angles)[:, None]  # (N, 1)
    down = np.ceil(np.arange(width) * np.sin(direction) - 0.5).astype(np.intp)  # (N, taps)
    across = np.ceil(np.arange(width) * np.cos(direction) - 0.5).astype(np.intp)
    _, height, length, _ = batch.shape
    every = np.arange(len(batch))[:, None, None]
    steps = np.zeros(batch.shape, dtype=np.float64)
    for tap, weight in enumerate(taps):
        rows = np.clip(np.arange(height) + down[:, tap, None], 0, height - 1)  # (N, H)
        columns = np.clip(np.arange(length) + across[:, tap, None], 0, length - 1)  # (N, W)
        steps += 257 * weight * batch[every, rows[:, :, None], columns[:, None, :]]
    return np.asarray((steps + 0.5).astype(np.uint16) // 257, dtype=np.uint8)


def zoom_blur(images: np.ndarray, severity: int, streams: Streams) -> np.ndarray:
    """Return the mean of the image and of its enlargements."""
    x = unit(images, np.float32)
    factors = np.arange(1, ZOOM_END[severity - 1], 0.01)
    total = np.zeros_like(x)
    for factor in factors:
        total += enlarged(x, factor).astype(np.float32)
    return grey_levels((x + total) / np.float32(len(factors) + 1))


def enlarged(batch: np.ndarray, factor: float) -> np.ndarray:
    """Enlarge the middle of each image to its full size, by linear interpolation.

    Args:
        batch: (N, 32, 32, C) float64.
        factor: At least 1.
    """
    matrix = _enlargement(factor)
    columns_done = np.einsum("ij,nkjc->nkic", matrix, batch, optimize=True)
    return np.asarray(np.einsum("ij,njkc->nikc", matrix, columns_done, optimize=True))


def _enlargement(factor: float) -> np.ndarray:
    """Return the matrix (32, 32) that enlarges one direction."""
    kept = math.ceil(SIDE / factor)
    first = (SIDE - kept) // 2
    number = round(kept * factor)
    trim = (number - SIDE) // 2
    # The outermost pixels that are kept are the outermost of the enlargement, as scipy.ndimage.zoom has it.
    position = first + np.arange(trim, trim + SIDE) * (kept - 1) / (number - 1)
    return np.asarray(np.maximum(0, 1 - np.abs(position[:, None] - np.arange(SIDE))))
