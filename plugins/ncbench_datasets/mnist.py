"""MNIST as it is: grey, without a bias attribute."""

from __future__ import annotations

from ncbench_datasets.layouts.mnist_files import GreyMnist


class Mnist(GreyMnist):
    """60,000 handwritten digits to train on and 10,000 to test (LeCun et al., Proc. IEEE 1998).

    The sources are the four IDX files in the layout of ``torchvision.datasets.MNIST("mnist")``, shared with
    colored_mnist.
    """

    folder = "mnist"
    raw = "MNIST/raw"
    class_names = tuple(str(digit) for digit in range(10))
