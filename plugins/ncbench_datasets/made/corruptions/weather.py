"""Snow, frost, fog and spatter."""

from __future__ import annotations

import functools

import numpy as np
from scipy import ndimage

from ncbench_datasets.made.corruptions.blur import along_lines, enlarged
from ncbench_datasets.made.corruptions.pixels import SIDE, Streams, draw, grey_levels, smooth, unit

SNOW = (
    (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
    (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
    (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
    (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
    (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
)
"""Mean and standard deviation of the flakes, their size, threshold, length and smoothness, and share of the image."""
FROST = ((1, 0.2), (1, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45))  # weights of the image and of the frost
FOG = ((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75))  # thickness, how fast its details fade
SPATTER = (
    (0.62, 0.1, 0.7, 0.7, 0.5, "water"),
    (0.65, 0.1, 0.8, 0.7, 0.5, "water"),
    (0.65, 0.3, 1, 0.69, 0.5, "water"),
    (0.65, 0.1, 0.7, 0.69, 0.6, "mud"),
    (0.65, 0.1, 0.5, 0.68, 0.6, "mud"),
)
"""Of the liquid: mean, standard deviation, smoothness, threshold; strength of water or smoothness of mud; and which."""
WATER = (np.array([175, 238, 238]) / 255).astype(np.float32)
MUD = (np.array([63, 42, 20]) / 255).astype(np.float32)
_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)


def snow(images: np.ndarray, severity: int, streams: Streams) -> np.ndarray:
    """Whiten the image and let flakes fall over it from two sides."""
    mean, sigma, size, threshold, length, smoothness, share = SNOW[severity - 1]
    x = unit(images, np.float32)
    flakes = draw(streams, lambda stream: mean + sigma * stream.standard_normal((SIDE, SIDE)))[..., None]
    flakes = enlarged(flakes, size)
    flakes = grey_levels(np.where(flakes < threshold, 0, flakes))
    angles = draw(streams, lambda stream: stream.uniform(-135, -45, ()))
    flakes = unit(along_lines(flakes, length, smoothness, angles))
    red, green, blue = np.moveaxis(x * _LUMA, 3, 0)  # added in turn: sums by @ depend on the processor
    grey = red + green + blue
    bright = grey[..., None] * 1.5 + 0.5
    whitened = share * x + (1 - share) * np.maximum(x, bright)
    return grey_levels(whitened + flakes + np.rot90(flakes, 2, axes=(1, 2)))


def fog(images: np.ndarray, severity: int, streams: Streams) -> np.ndarray:
    """Add a cloud and scale back to the image's own maximum."""
    thickness, decay = FOG[severity - 1]
    x = unit(images)
    clouds = plasma(draw(streams, lambda stream: stream.uniform(-1, 1, 1023)), decay)[..., None]
    largest = x.max(axis=(1, 2, 3), keepdims=True)
    return grey_levels((x + thickness * clouds) * largest / (largest + thickness))


def plasma(uniform: np.ndarray, decay: float) -> np.ndarray:
    """Return fractal clouds, by the diamond-square algorithm on a torus.

    Args:
        uniform: (N, 1023) uniform variables in [-1, 1].
        decay: Factor by which the roughness, 100 at first, falls with each halving of the step; displacements are the
            roughness squared times a uniform variable.

    Returns:
        (N, 32, 32) float64, from 0 to 1 in each image.
    """
    number = len(uniform)
    field = np.zeros((number, SIDE, SIDE))
    step, roughness, used = SIDE, 100.0, 0

    def means(four_corners: np.ndarray) -> np.ndarray:
        nonlocal used
        count = four_corners[0].size
        displaced = uniform[:, used : used + count].reshape(four_corners.shape)
        used += count
        return four_corners / 4 + roughness**2 * displaced

    while step >= 2:
        half = step // 2
        corners = field[:, ::step, ::step]
        pairs = corners + np.roll(corners, -1, axis=1)
        field[:, half::step, half::step] = means(pairs + np.roll(pairs, -1, axis=2))
        middles = field[:, half::step, half::step]
        field[:, ::step, half::step] = means(
            middles + np.roll(middles, 1, axis=1) + corners + np.roll(corners, -1, axis=2)
        )
        field[:, half::step, ::step] = means(
            middles + np.roll(middles, 1, axis=2) + corners + np.roll(corners, -1, axis=1)
        )
        step, roughness = half, roughness / decay
    field -= field.min(axis=(1, 2), keepdims=True)
    return np.asarray(field / field.max(axis=(1, 2), keepdims=True))


def frost(images: np.ndarray, severity: int, streams: Streams) -> np.ndarray:
    """Blend in a crop of a plate of frost.

    The published code takes crops of 32 x 32 from five photographs of frosted glass at a fifth of their size. These
    plates are drawn instead, by :func:`frost_plates`: as bluish and as bright as the photographs, with as much
    variation within a crop and between neighbouring pixels, but without their crystals' shapes.
    """
    weight, frost_weight = FROST[severity - 1]
    plates = frost_plates()
    crops = []
    for stream in streams:
        plate = plates[stream.randint(len(plates))]
        top, left = (stream.randint(0, length - SIDE) for length in plate.shape[:2])
        crops.append(plate[top : top + SIDE, left : left + SIDE])
    return grey_levels(weight * unit(images) + frost_weight * np.stack(crops))


@functools.cache
def frost_plates() -> np.ndarray:
    """Return five plates of frost, always the same: (5, 96, 128, 3) float64 in [0, 1].

    A plate is a random field whose amplitudes fall as f^-1.4 with the frequency, half of it bent into ridges, over a
    colour between dark blue and white.
    """
    height, width = 96, 128
    stream = np.random.RandomState(0)
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width))
    frequency[0, 0] = np.inf  # no constant part
    plates = []
    for colour, contrast in (
        ((0.30, 0.56, 0.64), 0.06),
        ((0.78, 0.80, 0.84), 0.06),
        ((0.54, 0.60, 0.66), 0.08),
        ((0.44, 0.48, 0.54), 0.11),
        ((0.60, 0.66, 0.72), 0.09),
    ):
        white = np.fft.rfft2(stream.standard_normal((2, height, width)))
        broad, fine = np.fft.irfft2(white / frequency**1.4, s=(height, width))
        broad, fine = broad / broad.std(), fine / fine.std()
        ridges = 1 - np.abs(fine)  # bright where the field changes its sign: thin, branching lines
        texture = broad + ridges / ridges.std()
        texture = (texture - texture.mean()) / texture.std()
        plates.append(np.clip(np.asarray(colour) + contrast * texture[..., None], 0, 1))
    return np.stack(plates)


def spatter(images: np.ndarray, severity: int, streams: Streams) -> np.ndarray:
    """Let drops of water (severity 1 to 3) or mud (4 and 5) fall on the lens."""
    mean, sigma, smoothness, threshold, strength, liquid = SPATTER[severity - 1]
    x = unit(images, np.float32)
    drops = smooth(draw(streams, lambda stream: mean + sigma * stream.standard_normal((SIDE, SIDE))), smoothness)
    drops = np.where(drops < threshold, 0, drops)
    if liquid == "water":
        depth = (drops * 255).astype(np.int64).astype(np.uint8)  # as published, 256 is 0 again
        wet = (depth * shading(depth)).astype(np.float32)
        largest = wet.max(axis=(1, 2), keepdims=True)
        film = wet / np.where(largest > 0, largest, 1) * strength
        return grey_levels(x + film[..., None] * WATER)
    film = smooth((drops > threshold).astype(np.float32), strength)
    film = np.where(film < 0.8, 0, film)[..., None]
    return grey_levels(x * (1 - film) + film * MUD)


def shading(depth: np.ndarray) -> np.ndarray:
    """Return how bright drops of water are, from the distance to their rims, lit from one side.

    Args:
        depth: (N, H, W) uint8.

    Returns:
        (N, H, W) float64 in 0..255, in whole steps.
    """
    distance = ndimage.uniform_filter(chamfer(canny(depth, 50, 150), 20), (0, 3, 3), mode="mirror")
    light = np.array([[-2, -1, 0], [-1, 1, 1], [0, 1, 2]], dtype=np.float64)
    lit = ndimage.correlate(equalized((distance + 1e-9).astype(np.uint8)), light[None], mode="mirror")
    return np.asarray(np.rint(ndimage.uniform_filter(np.clip(lit, 0, 255), (0, 3, 3), mode="mirror")))


def chamfer(marked: np.ndarray, limit: int) -> np.ndarray:
    """Return the distance to the nearest marked pixel along steps to neighbours, straight, diagonal or as a knight.

    The lengths of the steps are those of OpenCV, after Borgefors (Distance Transformations in Digital Images, 1986).

    Args:
        marked: (N, H, W) bool.
        limit: What is further away is at this distance.

    Returns:
        (N, H, W) float64.
    """
    _, height, width = marked.shape
    distance = np.where(marked, 0.0, limit)
    for _ in range(limit):  # a step is at least 1 long
        padded = np.pad(distance, ((0, 0), (2, 2), (2, 2)), constant_values=limit)
        for (rows, columns), length in _STEPS.items():
            moved = padded[:, 2 + rows : 2 + rows + height, 2 + columns : 2 + columns + width]
            np.minimum(distance, moved + length, out=distance)
    return distance


# Rounded to 16 binary digits, as OpenCV does.
_LENGTHS = {1: 1.0, 2: round(1.4 * 65536) / 65536, 5: round(2.1969 * 65536) / 65536}  # by the square of a step's length
_STEPS = {
    (rows, columns): _LENGTHS[rows**2 + columns**2]
    for rows in range(-2, 3)
    for columns in range(-2, 3)
    if rows**2 + columns**2 in _LENGTHS
}


def canny(depth: np.ndarray, low: float, high: float) -> np.ndarray:
    """Find edges (Canny, 1986), with the choices of OpenCV: sums of absolute gradients, three sectors a quadrant.

    Args:
        depth: (N, H, W) uint8.
        low: Gradients above it belong to an edge if they are connected to one above `high`.
        high: Gradients above it belong to an edge.

    Returns:
        (N, H, W) bool.
    """
    levels = depth.astype(np.int64)
    across = _sobel(levels, axis=2)
    down = _sobel(levels, axis=1)
    strength = np.abs(across) + np.abs(down)
    padded = np.pad(strength, ((0, 0), (1, 1), (1, 1)))

    def neighbour(rows: int, columns: int) -> np.ndarray:
        height, width = strength.shape[1:]
        return padded[:, 1 + rows : 1 + rows + height, 1 + columns : 1 + columns + width]

    flat = np.abs(down) < np.tan(np.pi / 8) * np.abs(across)
    steep = np.abs(down) > np.tan(3 * np.pi / 8) * np.abs(across)
    rising = across * down < 0
    # An edge's pixel is stronger than the one before it along the gradient, and at least as strong as the one behind.
    before = np.select([flat, steep, rising], [neighbour(0, -1), neighbour(-1, 0), neighbour(-1, 1)], neighbour(-1, -1))
    behind = np.select([flat, steep, rising], [neighbour(0, 1), neighbour(1, 0), neighbour(1, -1)], neighbour(1, 1))
    diagonal = ~flat & ~steep
    thin = (strength > before) & np.where(diagonal, strength > behind, strength >= behind)
    candidates = thin & (strength > low)
    within = np.zeros((3, 3, 3), dtype=bool)
    within[1] = True  # diagonal neighbours of one image; images are not connected
    labels, _ = ndimage.label(candidates, within)
    strong = np.unique(labels[candidates & (strength > high)])
    return np.asarray(np.isin(labels, strong) & candidates)


def _sobel(levels: np.ndarray, axis: int) -> np.ndarray:
    other = 3 - axis
    smoothed = ndimage.correlate1d(levels, [1, 2, 1], axis=other, mode="nearest")
    gradient: np.ndarray = ndimage.correlate1d(smoothed, [-1, 0, 1], axis=axis, mode="nearest")
    return gradient


def equalized(levels: np.ndarray) -> np.ndarray:
    """Spread the grey levels of each image over 0..255, as OpenCV does.

    Args:
        levels: (N, H, W) uint8.

    Returns:
        (N, H, W) float64 of whole numbers. The lowest level there is becomes 0; an image of one level stays.
    """
    number = len(levels)
    flat = levels.reshape(number, -1).astype(np.intp)
    counts = np.zeros((number, 256), dtype=np.int64)
    np.add.at(counts, (np.arange(number)[:, None], flat), 1)
    at_lowest = counts[np.arange(number), flat.min(axis=1)][:, None]
    above = flat.shape[1] - at_lowest  # (N, 1)
    table = np.rint(255 * (counts.cumsum(axis=1) - at_lowest) / np.where(above > 0, above, 1))
    table = np.where(above > 0, np.clip(table, 0, 255), np.arange(256))
    return np.take_along_axis(table, flat, axis=1).reshape(levels.shape)
