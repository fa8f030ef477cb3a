"""The contract of a metric family: a pure function of what one pass over a split saw."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from ncbench.collapse import ClassMeans

if TYPE_CHECKING:
    from ncbench.geometry import Hierarchy


@dataclass(frozen=True, eq=False)
class FeatureStream:
    """The features of a split, a batch at a time: so that millions of images need no more memory than thousands.

    Args:
        compute: Given positions (n,) of images, or None for all: their features (n, d) float32 in batches, computed
            anew by the model as it is.
        by_target: Counts, sums and means of each class's features.
        by_bias: The same of each value of the bias attribute; None where it is unknown.
        finite: Whether every feature is a finite number. If not, sums and means are of no use.
        held: (N, d) float32, all features, where they are few enough to be kept; None otherwise.
    """

    compute: Callable[[Tensor | None], Iterable[Tensor]]
    by_target: ClassMeans
    by_bias: ClassMeans | None
    finite: bool
    held: Tensor | None = None

    @classmethod
    def of(
        cls, features: Tensor, target: Tensor, bias: Tensor | None, num_classes: int, num_bias: int
    ) -> FeatureStream:
        """Return the stream of features that are in memory: (N, d) float32, with (N,) int64 labels."""

        def compute(index: Tensor | None) -> Iterable[Tensor]:
            return [features if index is None else features[index]]

        sums = ClassMeans(num_classes, features.shape[1], features.device)
        of_bias = None if bias is None else ClassMeans(num_bias, features.shape[1], features.device)
        finite = bool(torch.isfinite(features).all())
        if finite:
            sums.update(features, target)
            if of_bias is not None and bias is not None:
                of_bias.update(features, bias)
        return cls(compute, sums, of_bias, finite, features)

    def batches(self) -> Iterator[tuple[slice, Tensor]]:
        """Pass over all images in order, as (positions, their (n, d) features)."""
        seen = 0
        for features in self.compute(None) if self.held is None else [self.held]:
            rows = slice(seen, seen + len(features))
            seen = rows.stop
            yield rows, features

    def rows(self, index: Tensor) -> Tensor:
        """Return the features of a few images: positions (n,) -> (n, d)."""
        return torch.cat(list(self.compute(index))) if self.held is None else self.held[index]


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What one pass over a split saw, N images in all.

    Args:
        split: ``"train"``, ``"val"`` or ``"test"``.
        num_classes: K.
        num_bias: B; 0 if the bias attribute is unknown on every split.
        target: (N,) int64.
        bias: (N,) int64, or None where the attribute is unknown.
        inferred: (N,) int64, the groups that were inferred of training or validation images, for a method that trains
            on them; None otherwise.
        predicted: (N,) int64, the largest logit's class.
        count: (K, B) int64, images a group; (K, 1) where the attribute is unknown.
        correct: The same of correctly classified images.
        train_count: (K, B) int64, training images a group, or None where the attribute is unknown.
        aligned_bias: For each class the bias value that goes along with it in training; None if not defined.
        attributes: Name -> value names of the bias attributes where there are several, in the order in which they are
            raveled into the one (see :mod:`ncbench.contracts.groups`); empty otherwise.
        hierarchy: Of the classes, or None.
        logits: (N, K) float32, if the family asked for them.
        features: (N, d) float32, if the family asked for them.
        feature_stream: The same a batch at a time, if the family asked for that.
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
    attributes: Mapping[str, Sequence[str]] = field(default_factory=dict)
    hierarchy: Hierarchy | None = None
    logits: Tensor | None = None
    features: Tensor | None = None
    feature_stream: FeatureStream | None = None
    weight: Tensor | None = None
    classifier_bias: Tensor | None = None
    inferred: Tensor | None = None


class Metric:
    """A family of metrics.

    Attributes:
        needs: Which of ``"logits"``, ``"features"`` and ``"feature_stream"`` an evaluation must carry. Logits and
            features are held for all images of the split at once; a stream takes no more memory for more images.
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
