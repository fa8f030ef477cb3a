"""Colored digits: scikit-learn's bundled handwritten digits in ten colours, the default that works everywhere."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ncbench_datasets.made.colouring import MEAN_COLOURS, ColouredDigits, GreyDigits


class ColoredDigits(ColouredDigits):
    """1,797 real digits of 8x8 pixels, in ten colours.

    scikit-learn ships the test part of the UCI digits only, so this splits it: of each class, in dataset order, every
    third image is a test image (1,201 to train on, 596 to test). The mean colours are Colored MNIST's, rounded to whole
    grey levels.
    """

    mean_colours = np.rint(MEAN_COLOURS) / 255
    folder = None
    image_size = (8, 8)

    def source_files(self) -> Sequence[Path]:
        """Return nothing: the images come with scikit-learn."""
        return ()

    def grey_digits(self) -> tuple[GreyDigits, GreyDigits]:
        """Return the digits, their 17 grey levels spread over 0..255."""
        from sklearn.datasets import load_digits  # here, since importing it takes a second

        bunch = load_digits()
        images = np.round(bunch.images * (255 / 16)).astype(np.uint8)  # (1797, 8, 8)
        digits = bunch.target.astype(np.int64)
        test = np.zeros(len(digits), dtype=bool)
        for digit in range(10):
            test[np.flatnonzero(digits == digit)[2::3]] = True
        return GreyDigits(images[~test], digits[~test]), GreyDigits(images[test], digits[test])
