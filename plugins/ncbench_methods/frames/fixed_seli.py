"""A classifier that has the geometry of imbalanced classes, SELI, from the start and keeps it."""

from __future__ import annotations

from typing import ClassVar

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from ncbench import Batch, ConfigurationError, LogUniform, Method, Parameters
from ncbench.geometry import seli, vectors_with_gram
from ncbench_methods.feature_norm import FeatureNorm


class FixedSELIParameters(Parameters):
    """Parameters of :class:`FixedSELI`."""

    scale: float = Field(1.0, gt=0, description="root mean square length of the classifier's rows")


class FixedSELI(Method):
    """Only features are learned; the classifier W is frozen to SELI (geometry of Thrampoulidis et al., NeurIPS 2022).

    Trained on imbalanced classes, a free classifier tends to W W^T ~ V L V^T, with V L U^T the singular value
    decomposition of the simplex-encoded labels of the training set (their definition 2): frequent classes get the
    longer rows and the wider angles. Here W has that Gram matrix from the start, in a Haar-random orientation, scaled
    to a mean squared row length of scale^2, and the loss is the cross-entropy of W h. For equal class counts W is a
    simplex ETF. It is the counterpart of `fixed_etf` for comparison with the theory; the paper itself freezes nothing.

    The features h pass a BatchNorm, since values after a ReLU cannot reach negative coordinates, and keep their
    length, which in SELI differs from class to class. W has rank K - 1; a backbone with fewer dimensions gets a linear
    projection to K.

    A batch of one image is normalised by BatchNorm's running statistics. Supervision: none.

    A search tries scales from 0.25 to 4, which is this project's choice.
    """

    Parameters = FixedSELIParameters
    learns_features = True
    search_space: ClassVar = {**Method.search_space, "method.scale": LogUniform(0.25, 4)}
    frame: Tensor

    def build(self) -> None:
        """Create the backbone, the normalisation of its features and the frozen classifier."""
        counts, num_classes = self.task.class_counts.cpu(), self.task.num_classes
        if bool((counts == 0).any()):
            missing = self.task.class_names[int((counts == 0).nonzero()[0])]
            raise ConfigurationError(
                f"fixed_seli needs training images of every class, and {missing!r} has none. Use fixed_etf."
            )
        self.backbone = self.make_backbone()
        d = self.backbone.feature_dim
        dim = d if d >= num_classes - 1 else num_classes
        self.projection = nn.Identity() if dim == d else nn.Linear(d, dim, bias=False)
        self.norm = FeatureNorm(dim)
        gram = seli(counts).classifier_gram
        gram = gram * (self.params.scale**2 * num_classes / gram.trace())
        frame = vectors_with_gram(gram, dim, self.task.generator("seli"))
        self.register_buffer("frame", frame)  # (K, dim) W

    def loss(self, batch: Batch) -> Tensor:
        """Return the mean cross-entropy."""
        return F.cross_entropy(self(batch.images), batch.target)

    def features(self, images: Tensor) -> Tensor:
        """Return the features after BatchNorm: (N, C, H, W) -> (N, dim)."""
        h: Tensor = self.norm(self.projection(self.backbone(images)))
        return h

    def classify(self, features: Tensor) -> Tensor:
        """Return W h: (N, dim) -> (N, K)."""
        return F.linear(features, self.frame)

    def classifier_parameters(self) -> tuple[Tensor, None]:
        """Return W; there is no bias."""
        return self.frame, None
