"""Changes of colour, compression, pixels and shape."""

from __future__ import annotations

import io

import numpy as np
from matplotlib.colors import hsv_to_rgb, rgb_to_hsv
from PIL import Image

from ncbench_datasets.made.corruptions.pixels import SIDE, Streams, draw, grey_levels, smooth, unit

BRIGHTNESS = (0.05, 0.1, 0.15, 0.2, 0.3)
CONTRAST = (0.75, 0.5, 0.4, 0.3, 0.15)
SATURATION = ((0.3, 0), (0.1, 0), (1.5, 0), (2, 0.1), (2.5, 0.2))  # factor, summand
JPEG_QUALITY = (80, 65, 58, 50, 40)
PIXELATE_SIDE = (30, 28, 27, 24, 20)
ELASTIC = ((0, 0, 2.56), (1.6, 6.4, 2.24), (2.56, 1.92, 1.92), (3.2, 1.28, 1.6), (3.2, 0.96, 0.96))
"""Pixels: size of the displacements, their smoothness, and how far the corners of the affine map go astray."""


def brightness(images: np.ndarray, severity: int, streams: Streams) -> np.ndarray:
    """Raise the value of HSV."""
    hsv = rgb_to_hsv(unit(images))
    hsv[..., 2] = np.clip(hsv[..., 2] + BRIGHTNESS[severity - 1], 0, 1)
    return grey_levels(hsv_to_rgb(hsv))


def saturate(images: np.ndarray, severity: int, streams: Streams) -> np.ndarray:
    """Change the saturation of HSV."""
    factor, summand = SATURATION[severity - 1]
    hsv = rgb_to_hsv(unit(images))
    hsv[..., 1] = np.clip(hsv[..., 1] * factor + summand, 0, 1)
    return grey_levels(hsv_to_rgb(hsv))


def contrast(images: np.ndarray, severity: int, streams: Streams) -> np.ndarray:
    """Move every value towards the mean of its channel."""
    x = unit(images)
    mean = x.mean(axis=(1, 2), keepdims=True)
    return grey_levels((x - mean) * CONTRAST[severity - 1] + mean)


def jpeg(images: np.ndarray, severity: int, streams: Streams) -> np.ndarray:
    """Compress by JPEG, as Pillow does."""
    return np.stack([_compressed(image, JPEG_QUALITY[severity - 1]) for image in images])


def _compressed(image: np.ndarray, quality: int) -> np.ndarray:
    encoded = io.BytesIO()
    Image.fromarray(image).save(encoded, "JPEG", quality=quality)
    with Image.open(encoded) as opened:
        return np.asarray(opened)


def pixelate(images: np.ndarray, severity: int, streams: Streams) -> np.ndarray:
    """Make the image smaller and large again, both times by a box filter."""
    side, box = PIXELATE_SIDE[severity - 1], Image.Resampling.BOX
    small = (Image.fromarray(image).resize((side, side), box) for image in images)
    return np.stack([np.asarray(image.resize((SIDE, SIDE), box)) for image in small])


def elastic(images: np.ndarray, severity: int, streams: Streams) -> np.ndarray:
    """Map the image by a random affine map, then displace its pixels by smooth random fields."""
    size, smoothness, astray = ELASTIC[severity - 1]
    corners = np.array([[26, 26], [26, 6], [6, 6]], dtype=np.float32)  # (x, y)
    moves = draw(streams, lambda stream: stream.uniform(-astray, astray, (3, 2))).astype(np.float32)
    fields = draw(streams, lambda stream: stream.uniform(-1, 1, (2, SIDE, SIDE)))  # across, down
    smooth_fields = (smooth(fields[:, i], smoothness, mode="reflect", truncate=3) for i in range(2))
    across, down = ((size * field).astype(np.float32) for field in smooth_fields)
    rows, columns = np.mgrid[0:SIDE, 0:SIDE].astype(np.float64)
    # The affine map takes the corners to corners + moves; a pixel of the result is looked up by its inverse.
    inverse = np.linalg.solve(_with_ones(corners + moves), np.broadcast_to(corners, moves.shape))  # (N, 3, 2)
    x, y = (_to_32nds(inverse[:, :, axis]) for axis in range(2))
    mapped = sampled(unit(images, np.float32), y, x)
    displaced = sampled(mapped.astype(np.float64), reflected(rows + down), reflected(columns + across))
    return grey_levels(displaced.astype(np.float32))


def _with_ones(points: np.ndarray) -> np.ndarray:
    return np.concatenate([points, np.ones((*points.shape[:-1], 1))], axis=-1)


def _to_32nds(weights: np.ndarray) -> np.ndarray:
    """Return ``a column + b row + c`` for every pixel, cut off to 1/32 as OpenCV does.

    Args:
        weights: (N, 3) a, b and c.

    Returns:
        (N, 32, 32) float64.
    """
    a, b, c = weights.T[:, :, None]  # (N, 1)
    places = np.arange(SIDE)
    of_row = np.rint(1024 * (b * places + c))[:, :, None]
    of_column = np.rint(1024 * a * places)[:, None, :]
    return np.floor((of_row + of_column + 16) / 32) / 32


def reflected(places: np.ndarray) -> np.ndarray:
    """Mirror places about the edges, as scipy did before 1.6.

    What was up to one pixel above or left of the image remains outside, and :func:`sampled` mirrors it once more.
    """
    return np.where(places < 0, -places - 1, np.where(places >= SIDE, 2 * SIDE - places - 1, places))


def sampled(batch: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Interpolate images linearly; they are mirrored about their outermost pixels (``d c b | a b c d``).

    Args:
        batch: (N, H, W, C).
        rows: (N, H, W) float64 places to look up.
        columns: Likewise.
    """
    _, height, width, _ = batch.shape
    top, left = np.floor(rows).astype(np.intp), np.floor(columns).astype(np.intp)
    every = np.arange(len(batch))[:, None, None]
    total = np.zeros_like(batch)
    for row, row_weight in ((top, top + 1 - rows), (top + 1, rows - top)):
        for column, column_weight in ((left, left + 1 - columns), (left + 1, columns - left)):
            pixels = batch[every, _mirrored(row, height), _mirrored(column, width)]
            total += (row_weight * column_weight)[..., None].astype(batch.dtype) * pixels
    return total


def _mirrored(index: np.ndarray, length: int) -> np.ndarray:
    period = 2 * length - 2
    index = index % period
    return np.where(index < length, index, period - index)
