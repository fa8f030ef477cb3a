"""Where anyone finds the colours of colored_mnist: the mean of each class and the jitter of each severity."""

from ncbench_datasets.made.colouring import JITTER, MEAN_COLOURS

__all__ = ["JITTER", "MEAN_COLOURS"]
