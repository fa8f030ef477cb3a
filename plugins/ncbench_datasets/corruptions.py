"""Where anyone finds the corruptions of corrupted_cifar10: ``corrupt`` and their names; how they are made is `made`'s."""

from ncbench_datasets.made.corruptions import CORRUPTIONS, corrupt

__all__ = ["CORRUPTIONS", "corrupt"]
