"""MNIST and Fashion-MNIST as they are: grey, without a bias attribute."""

from __future__ import annotations

from collections.abc import Mapping

from ncbench import Split
from ncbench_datasets.layouts.mnist_files import PARTS, MnistFiles


class GreyMnist(MnistFiles):
    """Base of both; images are stored with one channel."""

    def read(self) -> Mapping[str, Split]:
        """Read both splits; ids are ``<split>-<position>``.

        Raises:
            DataError: A file is truncated, damaged, of another size, or its labels are out of range.
        """
        splits = {}
        for split in PARTS:
            images, target = self.grey_part(split)
            ids = [f"{split}-{index:05d}" for index in range(len(target))]
            splits[split] = Split(inputs=images[..., None], target=target, bias=None, ids=ids)
        return splits


class Mnist(GreyMnist):
    """60,000 handwritten digits to train on and 10,000 to test (LeCun et al., Proc. IEEE 1998).

    The sources are the four IDX files in the layout of ``torchvision.datasets.MNIST("mnist")``, shared with
    colored_mnist.
    """

    folder = "mnist"
    raw = "MNIST/raw"
    class_names = tuple(str(digit) for digit in range(10))


class FashionMnist(GreyMnist):
    """60,000 pictures of clothes to train on and 10,000 to test (Xiao, Rasul & Vollgraf, arXiv:1708.07747, 2017).

    The sources are the four IDX files in the layout of ``torchvision.datasets.FashionMNIST("fashion_mnist")``.
    """

    folder = "fashion_mnist"
    raw = "FashionMNIST/raw"
    class_names = (
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    )
