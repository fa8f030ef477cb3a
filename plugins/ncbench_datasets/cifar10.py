"""CIFAR-10."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ncbench_datasets.layouts.cifar_files import Cifar


class Cifar10(Cifar):
    """10 classes of 6,000 images (Krizhevsky 2009). No bias attribute is known."""

    folder = "cifar10"
    class_names = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
    hub_folder = "plain_text"
    binary_folder = "cifar-10-batches-bin"
    binary_files = {  # noqa: RUF012 - the base class declares it a class variable
        "train": [f"data_batch_{number}.bin" for number in range(1, 6)],
        "test": ["test_batch.bin"],
    }
    pickle_folder = "cifar-10-batches-py"
    archive = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
    labels = ("label",)

    @classmethod
    def synthesize(cls, root: Path) -> None:
        """Write both parquet files: a class is a direction of stripes."""
        cls.write_twin(root, {"label": np.arange(10)}, {"train": 40, "test": 10})
