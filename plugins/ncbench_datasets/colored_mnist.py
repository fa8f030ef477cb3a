"""Colored MNIST, as made for Learning from Failure (Nam et al., NeurIPS 2020, section 4.1 and its published code)."""

from __future__ import annotations

from ncbench_datasets.layouts.mnist_files import MnistFiles
from ncbench_datasets.made.colouring import ColouredDigits, GreyDigits


class ColoredMnist(MnistFiles, ColouredDigits):
    """MNIST's 60,000 training and 10,000 test digits of 28x28 pixels, in ten colours.

    The sources are MNIST's four IDX files, plain or as .gz, in the layout of ``torchvision.datasets.MNIST("mnist")``.
    """

    folder = "mnist"
    raw = "MNIST/raw"

    def grey_digits(self) -> tuple[GreyDigits, GreyDigits]:
        """Read MNIST.

        Raises:
            DataError: A file is truncated, damaged, of another size, or its labels are no digits.
        """
        return GreyDigits(*self.grey_part("train")), GreyDigits(*self.grey_part("test"))
