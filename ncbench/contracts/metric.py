"""The contract of a metric family: a pure function of what one pass over a split saw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from torch import Tensor

if TYPE_CHECKING:
    from ncbench.geometry import Hierarchy


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What one pass over a split saw, N images in all.

    Args:
        split: ``"train"``, ``"val"`` or ``"test"``.
        num_classes: K.
        num_bias: B; 0 if the bias attribute is unknown on every split.
        target: (N,) int64.
        bias: (N,) int64, or None where the attribute is unknown.
        predicted: (N,) int64, the largest logit's class.
        count: (K, B) int64, images a group; (K, 1) where the attribute is unknown.
        correct: The same of correctly classified images.
        train_count: (K, B) int64, training images a group, or None where the attribute is unknown.
        aligned_bias: For each class the bias value that goes along with it in training; None if not defined.
        hierarchy: Of the classes, or None.
        logits: (N, K) float32, if the family asked for them.
        features: (N, d) float32, if the family asked for them.
        weight: (K, d) of the linear classifier on the features, or None.
        classifier_bias: (K,) of the same, or None.
    """

    split: str
    num_classes: int
    num_bias: int
    target: Tensor
    bias: Tensor | None
    predicted: Tensor
    count: np.ndarray
    correct: np.ndarray
    train_count: np.ndarray | None
    aligned_bias: Sequence[int] | None
    hierarchy: Hierarchy | None = None
    logits: Tensor | None = None
    features: Tensor | None = None
    weight: Tensor | None = None
    classifier_bias: Tensor | None = None


class Metric:
    """A family of metrics.

    Attributes:
        needs: Which of ``"logits"`` and ``"features"`` an evaluation must carry.
        splits: The splits it is computed on.
        when: ``"always"``: at every evaluation; ``"scheduled"``: on the recipe's log-spaced schedule of epochs and
            at the end, for what is costly or changes slowly.
    """

    needs: ClassVar[frozenset[str]] = frozenset()
    splits: ClassVar[tuple[str, ...]] = ("train", "val", "test")
    when: ClassVar[Literal["always", "scheduled"]] = "always"

    def compute(self, evaluation: Evaluation) -> Mapping[str, float]:
        """Return the family's metrics by name. A metric that is not defined on this split is left out."""
        raise NotImplementedError(f"{type(self).__name__} must implement compute(evaluation).")
