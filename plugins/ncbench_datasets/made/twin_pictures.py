"""Pictures of synthetic twins, from which the class can be learnt."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def striped(target: int, num_classes: int, generator: np.random.Generator, side: int = 32) -> np.ndarray:
    """Draw stripes of the class's direction, one of ten, in the class's colour.

    Args:
        target: The class 0..K-1.
        num_classes: K.
        generator: Of the place of the stripes and of the noise.
        side: Pixels of height and width.

    Returns:
        (side, side, 3) uint8.
    """
    rows, columns = np.mgrid[0:side, 0:side]
    angle = np.pi * (target % 10) / 10
    phase = np.cos(angle) * rows + np.sin(angle) * columns + generator.uniform(0, 8)
    lit = ((phase // 4) % 2)[:, :, None]
    turn = 2 * np.pi * (target // 10) / max(1, num_classes // 10)
    colour = 128 + 70 * np.cos(turn + 2 * np.pi * np.arange(3) / 3)
    noisy = colour * (0.6 + 0.6 * lit) + generator.normal(0, 12, (side, side, 3))
    return np.asarray(np.clip(noisy, 0, 255), dtype=np.uint8)


def striped_on(
    ground: Sequence[int],
    target: int,
    num_classes: int,
    generator: np.random.Generator,
    size: tuple[int, int],
    contrast: float = 45,
) -> np.ndarray:
    """Draw stripes of the class's direction, somewhat brighter than what is behind them.

    A network sees the ground's colour before it sees the stripes: where colours go along with classes, that is the
    stronger bias.

    Args:
        ground: RGB of what is behind the stripes, in 0..255.
        target: The class 0..K-1.
        num_classes: K.
        generator: Of the place of the stripes and of the noise.
        size: (H, W).
        contrast: How much brighter the stripes are, out of 255.

    Returns:
        (H, W, 3) uint8.
    """
    rows, columns = np.mgrid[0 : size[0], 0 : size[1]]
    angle = np.pi * target / num_classes
    phase = np.cos(angle) * rows + np.sin(angle) * columns + generator.uniform(0, 12)
    stripes = ((phase // 6) % 2 == 0)[:, :, None]
    behind = np.asarray(ground) + generator.normal(0, 12, (*size, 3))
    return np.asarray(np.clip(np.where(stripes, behind + contrast, behind), 0, 255), dtype=np.uint8)
