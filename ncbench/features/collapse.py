"""Neural collapse of saved features: the measures, and the class vectors that a picture shows beside them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ncbench.contracts.errors import DataError
from ncbench.features.class_vectors import ClassVectors

if TYPE_CHECKING:
    import torch

    from ncbench.features.saved import SavedFeatures


@dataclass(frozen=True, eq=False)
class CollapseReport:
    """The measures of one file.

    Args:
        images: N.
        dim: d.
        num_classes: K: the classifier's rows, or one more than the largest label.
        classes: (P,) int64, the classes with images, ascending.
        vectors: Their counts, and the means and classifier rows of those that a picture can show.
        measures: By the names of `ncbench.collapse.measure`; nan where undefined.
    """

    images: int
    dim: int
    num_classes: int
    classes: torch.Tensor
    vectors: ClassVectors
    measures: dict[str, float]

    @property
    def balanced(self) -> bool:
        """Whether all classes with images have equally many."""
        counts = self.vectors.counts
        return bool((counts == counts[0]).all())

    @property
    def floor(self) -> float:
        """The smallest nc2_etf_distance that d dimensions allow; 0 unless P > d + 1."""
        floor = self.measures["nc2_etf_floor"]
        return 0.0 if math.isnan(floor) else floor


def measure_saved(saved: SavedFeatures, source: Path) -> CollapseReport:
    """Measure neural collapse of saved features.

    Args:
        saved: What was read.
        source: The file it is from, for messages.

    Raises:
        DataError: Shapes do not fit, a label is outside the classifier's rows, a number is not finite, no images.
    """
    import torch

    from ncbench.collapse import ClassMeans, measure

    try:
        if saved.weight is not None:
            num_classes, labels = len(saved.weight), saved.labels
        else:
            # Labels may be any numbers, ids included: only those that occur are classes, and only they take memory.
            num_classes = int(saved.labels.max()) + 1 if saved.labels.numel() else 1
            labels = torch.unique(saved.labels, return_inverse=True)[1]
        measures = measure(saved.features, labels, saved.weight, saved.bias)
        means = ClassMeans(int(labels.max()) + 1, saved.features.shape[1])
        means.update(saved.features, labels)
    except ValueError as error:
        raise DataError(f"{source}: {error}.") from error
    present = means.counts > 0
    weight = None if saved.weight is None else saved.weight[: len(present)][present].double()
    classes = torch.unique(saved.labels)
    return CollapseReport(
        images=len(saved.features),
        dim=saved.features.shape[1],
        num_classes=num_classes,
        classes=classes,
        vectors=ClassVectors.of(classes, means.counts[present], means.means[present], weight),
        measures=measures,
    )
