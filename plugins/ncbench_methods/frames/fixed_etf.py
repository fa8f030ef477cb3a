"""A classifier that is a simplex ETF from the start and stays it."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from ncbench import Batch, LogUniform, Method, Parameters
from ncbench.geometry import simplex_etf
from ncbench_methods.feature_norm import FeatureNorm


class FixedETFParameters(Parameters):
    """Parameters of :class:`FixedETF`."""

    loss: Literal["ce", "dot_regression"] = Field("ce", description="cross-entropy, or regression of m_y . h to 1")
    scale: float = Field(16.0, gt=0, description="the logits are scale * M h; only ce trains with it")
    long_tail: bool = Field(False, description="lengthen m_c for classes that are rare in the training batch")


class FixedETF(Method):
    """Only features are learned; the classifier M is a frozen simplex ETF (Yang et al., NeurIPS 2022).

    M has K unit rows at cosine -1/(K-1) in a Haar-random orientation, and h is the normalised feature vector, which
    passes a BatchNorm first, as in the published code: values after a ReLU cannot reach the ETF's negative
    coordinates. A simplex ETF needs K - 1 dimensions; a backbone with fewer gets a linear projection to K.

    - `loss=ce`: cross-entropy of scale * M h.
    - `loss=dot_regression` (eq. 7): 0.5 mean (m_y . h - |m_y|)^2 for unit h. Its gradient for unit m_y is
      -(1 - cos) m_y / B, the pull towards m_y alone; cross-entropy also pushes away from the other classes.

    `long_tail` scales m_c in each training batch by sqrt((B / classes present) / n_c), n_c the batch's images of the
    class, which makes the pull on every class present the same in total (section 3.3 and the published code). At
    evaluation M is plain.

    A batch of one image is normalised by BatchNorm's running statistics, having none of its own. `features` are the
    normalised h, the space in which M classifies. Supervision: none.

    A search tries scales from 4 to 64, which is this project's choice.
    """

    Parameters = FixedETFParameters
    learns_features = True
    search_space: ClassVar = {**Method.search_space, "method.scale": LogUniform(4, 64)}
    etf: Tensor

    def build(self) -> None:
        """Create the backbone, what brings its features to unit length, and the frozen classifier."""
        self.backbone = self.make_backbone()
        d, num_classes = self.backbone.feature_dim, self.task.num_classes
        dim = d if d >= num_classes - 1 else num_classes
        self.projection = nn.Identity() if dim == d else nn.Linear(d, dim, bias=False)
        self.norm = FeatureNorm(dim)
        etf = simplex_etf(num_classes, dim, generator=self.task.generator("etf"))
        self.register_buffer("etf", etf)  # (K, dim) M

    def loss(self, batch: Batch) -> Tensor:
        """Return the chosen loss."""
        h = self.features(batch.images)
        etf = self.etf * self._lengths(batch.target) if self.params.long_tail else self.etf
        if self.params.loss == "ce":
            return F.cross_entropy(F.linear(h, self.params.scale * etf), batch.target)
        m_y = etf[batch.target]  # (N, dim)
        shortfall: Tensor = (m_y * h).sum(dim=1) - m_y.norm(dim=1)  # (N,)
        return 0.5 * shortfall.square().mean()

    def _lengths(self, target: Tensor) -> Tensor:
        """Return the length of each class's vector for this batch: (K, 1), 1 for a class that is absent."""
        # bincount would make every step wait for the device, to learn the size of its result
        count = self.etf.new_zeros(len(self.etf)).index_add_(0, target, self.etf.new_ones(len(target)))
        even = len(target) / (count > 0).sum()  # images a class, were the batch balanced
        return torch.where(count > 0, even / count.clamp_min(1), 1.0).sqrt()[:, None]

    def features(self, images: Tensor) -> Tensor:
        """Return the normalised features: (N, C, H, W) -> (N, dim)."""
        return F.normalize(self.norm(self.projection(self.backbone(images))), dim=1)

    def classify(self, features: Tensor) -> Tensor:
        """Return scale * M h: (N, dim) -> (N, K)."""
        return F.linear(features, self.params.scale * self.etf)

    def classifier_parameters(self) -> tuple[Tensor, None]:
        """Return scale * M; there is no bias."""
        return self.params.scale * self.etf, None
