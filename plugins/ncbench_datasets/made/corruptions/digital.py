"""Changes of colour, compression, pixels and shape."""

from __future__ import annotations

import io

import numpy as np
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
    """Raise the value of HSV.

    With hue and saturation fixed, all channels are proportional to the value; black becomes grey.
    """
    x = unit(images)
    value = x.max(axis=3, keepdims=True)
    raised = np.minimum(1, value + BRIGHTNESS[severity - 1])
    return grey_levels(np.where(value > 0, x * raised / np.where(value > 0, value, 1), raised))


def saturate(images: np.ndarray, severity: int, streams: Streams) -> np.ndarray:
    """Change the saturation of HSV.

    With hue and value fixed, how far a channel is below the value is proportional to the saturation; what is grey has
    the hue of red.
    """
    factor, summand = SATURATION[severity - 1]
    x = unit(images)
    value = x.max(axis=3, keepdims=True)
    below = value - x
    spread = below.max(axis=3, keepdims=True)
    saturation = spread / np.where(value > 0, value, 1)
    changed = np.clip(saturation * factor + summand, 0, 1)
    coloured = below * changed / np.where(saturation > 0, saturation, 1)
    grey = value * changed * np.array([0, 1, 1])
    return grey_levels(value - np.where(saturation > 0, coloured, grey))


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
    corners = np.array([[26, 26], [26, 6], [6, 6]], dtype=np.float64)  # (x, y)
    moves = draw(streams, lambda stream: stream.uniform(-astray, astray, (3, 2)))
    fields = draw(streams, lambda stream: stream.uniform(-1, 1, (2, SIDE, SIDE)))  # across, down
    across, down = (size * smooth(fields[:, i], smoothness, mode="reflect", truncate=3) for i in range(2))
    rows, columns = np.mgrid[0:SIDE, 0:SIDE].astype(np.float64)
    # The affine map takes the corners to corners + moves; a pixel of the result is looked up by its inverse.
    to_source = np.linalg.solve(_with_ones(corners + moves), np.broadcast_to(corners, moves.shape))  # (N, 3, 2)
    source = np.stack([columns, rows, np.ones_like(rows)], axis=2) @ to_source[:, None]  # (N, 32, 32, 2)
    mapped = sampled(unit(images), source[..., 1], source[..., 0], half=False)
    return grey_levels(sampled(mapped, rows + down, columns + across, half=True))


def _with_ones(points: np.ndarray) -> np.ndarray:
    return np.concatenate([points, np.ones((*points.shape[:-1], 1))], axis=-1)


def sampled(batch: np.ndarray, rows: np.ndarray, columns: np.ndarray, *, half: bool) -> np.ndarray:
    """Interpolate images linearly.

    Args:
        batch: (N, H, W, C) float64.
        rows: (N, H, W) places to look up.
        columns: Likewise.
        half: Whether the images are mirrored about their edges (``d c b a | a b c d``), or about their outermost pixels
            (``d c b | a b c d``).
    """
    _, height, width, _ = batch.shape
    top, left = np.floor(rows).astype(np.intp), np.floor(columns).astype(np.intp)
    every = np.arange(len(batch))[:, None, None]
    total = np.zeros(batch.shape)
    for row, row_weight in ((top, top + 1 - rows), (top + 1, rows - top)):
        for column, column_weight in ((left, left + 1 - columns), (left + 1, columns - left)):
            pixels = batch[every, _mirrored(row, height, half), _mirrored(column, width, half)]
            total += (row_weight * column_weight)[..., None] * pixels
    return total


def _mirrored(index: np.ndarray, length: int, half: bool) -> np.ndarray:
    period = 2 * length if half else 2 * length - 2
    index = index % period
    return np.where(index < length, index, period - index - half)
