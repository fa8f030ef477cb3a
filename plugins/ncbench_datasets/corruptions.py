"""The corruptions of corrupted_cifar10, for anyone: their names, and how images are given one; `made` has the rest."""

from ncbench_datasets.made.corruptions import CORRUPTIONS, corrupt

__all__ = ["CORRUPTIONS", "corrupt"]
