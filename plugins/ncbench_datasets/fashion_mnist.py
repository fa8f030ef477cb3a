"""Fashion-MNIST: pictures of clothes, laid out as MNIST is."""

from __future__ import annotations

from ncbench_datasets.layouts.mnist_files import GreyMnist


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
