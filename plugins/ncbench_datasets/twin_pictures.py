"""Pictures of synthetic twins, from which the class can be learnt."""

from __future__ import annotations

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
