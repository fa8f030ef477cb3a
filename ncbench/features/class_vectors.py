"""Class means and classifier rows, of as many classes as a picture can show."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

MOST_CLASSES = 300  # drawn; of more, some would fall between the picture's pixels and the diagonal would have gaps


@dataclass(frozen=True, eq=False)
class ClassVectors:
    """The vectors of D classes, of the P that have images.

    Args:
        counts: (P,) int64, the images of each.
        drawn: (D,) int64, ascending, which of the P they are.
        classes: (D,) int64, ascending, the classes' numbers.
        means: (D, d), their mean features less the unweighted mean of all P means.
        weight: (D, d), their classifier rows, or None.
    """

    counts: torch.Tensor
    drawn: torch.Tensor
    classes: torch.Tensor
    means: torch.Tensor
    weight: torch.Tensor | None = None

    @classmethod
    def of(
        cls, classes: torch.Tensor, counts: torch.Tensor, means: torch.Tensor, weight: torch.Tensor | None = None
    ) -> ClassVectors:
        """Centre the means of P classes and keep the vectors of all, or of an evenly spaced `MOST_CLASSES`.

        Args:
            classes: (P,) int64, ascending, the numbers of the classes that have images.
            counts: (P,) int64.
            means: (P, d), mean features.
            weight: (P, d), classifier rows, or None.
        """
        drawn = evenly_spaced(len(classes), MOST_CLASSES).to(means.device)
        rows = None if weight is None else weight[drawn]
        return cls(counts, drawn, classes[drawn], means[drawn] - means.mean(0), rows)

    @property
    def sizes(self) -> str:
        """How many images the classes have, in words."""
        smallest, largest = int(self.counts.min()), int(self.counts.max())
        return f"{smallest} images a class" if smallest == largest else f"{smallest} to {largest} images a class"


def evenly_spaced(count: int, most: int) -> torch.Tensor:
    """(min(count, most),) int64, ascending: positions among `count`, the first and the last included."""
    import torch

    return torch.linspace(0, count - 1, min(count, most), dtype=torch.float64).round().long()
