"""NC4: does the classifier decide as the nearest class mean does?"""

from __future__ import annotations

import torch


class NearestMeanComparison:
    """Counts the images on which a classifier and the nearest class mean disagree.

    Both decisions are the argmax of scores linear in x = h - reference: for the means x.(mu_c - mu_G) - |reference -
    mu_c|^2 / 2, for the classifier x.w_c + (reference.w_c + b_c). Nothing grows with a common offset of the features,
    unlike |h|^2 + |mu_c|^2 - 2 h.mu_c.

    With K <= d the reference is the image's own class mean: x is then the residual that NC1 projects anyway, the
    means' scores follow from that projection, and the constants are two small K x K tables. With K > d those tables
    would cost more than they save, and one reference, mu_G, serves every image.

    Args:
        means: (P, d) float64, means of the P classes with images.
        classes: (P,) int64, the class each row of `means` is.
        near: (P, d), the means rounded to the dtype of the products: what residuals are taken from.
        basis: (d, r) float64, orthogonal columns that span the centred means.
        weight: (K, d) float64.
        bias: (K,) float64.
    """

    def __init__(
        self,
        means: torch.Tensor,
        classes: torch.Tensor,
        near: torch.Tensor,
        basis: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor,
    ) -> None:
        dtype = near.dtype
        self.uses_residuals = len(means) <= means.shape[1]
        self._classes = classes
        self._centre = means.mean(0)  # (d,)
        self._centred = means - self._centre  # (P, d)
        self._weight, self._bias = weight, bias
        rounded = near if self.uses_residuals else self._centre[None].to(dtype)  # (T, d), T = P or 1
        reference = rounded.double()
        self.reference = rounded[0]  # (d,), of use where there is one for all images
        self._logit_constants = (reference @ weight.T + bias).to(dtype)  # (T, K)
        gap = reference - self._centre
        self._mean_constants = (
            gap @ self._centred.T - gap.square().sum(1, keepdim=True) / 2 - self._centred.square().sum(1) / 2
        ).to(dtype)  # (T, P) = -|reference - mu_c|^2 / 2
        self.weight = weight.T.to(dtype).contiguous()  # (d, K)
        if self.uses_residuals:
            inside = (self._centred @ basis) / basis.square().sum(0)  # (P, r): C = inside @ basis.T
            self._means = inside.T.to(dtype).contiguous()  # (r, P), applied to the projection
        else:
            self._means = self._centred.T.to(dtype).contiguous()  # (d, P), applied to x
        # Rounding of a score: of the product, in the size of its vectors, and of the constants and the sum.
        eps = torch.finfo(dtype).eps
        self._product_error = eps * (means.shape[1] ** 0.5 + 8)
        self._sum_error = 8 * eps
        self._mean_length = torch.linalg.vector_norm(self._centred, dim=1).max().to(dtype)
        self._weight_length = torch.linalg.vector_norm(weight, dim=1).max().to(dtype)

    def count(
        self,
        features: torch.Tensor,
        x: torch.Tensor,
        logits: torch.Tensor,
        projection: torch.Tensor,
        length: torch.Tensor,
        rows: torch.Tensor,
    ) -> torch.Tensor:
        """Number of images in a block on which the two decisions differ.

        Args:
            features: (n, d), as they came.
            x: (n, d), features less the reference.
            logits: (n, K), x.w_c; overwritten.
            projection: (n, r), x in the basis (used where the reference is the own class mean).
            length: (n,), |x|.
            rows: (n,) int64, each image's row of `means`.

        Returns:
            () int64.
        """
        if self.uses_residuals:
            logits += self._logit_constants[rows]
            scores = torch.addmm(self._mean_constants[rows], projection, self._means)  # (n, P)
        else:
            logits += self._logit_constants
            scores = torch.addmm(self._mean_constants, x, self._means)
        top_logit, decided = logits.max(1)
        top_score, nearest = scores.max(1)
        nearest = self._classes[nearest]
        if x.dtype != torch.float64:
            close = self._contested(logits, top_logit, length * self._weight_length)
            close |= self._contested(scores, top_score, length * self._mean_length)
            few = close.nonzero().squeeze(1)
            if len(few):
                decided[few], nearest[few] = self._decide_exactly(features[few])
        return (decided != nearest).sum()

    def _contested(self, scores: torch.Tensor, top: torch.Tensor, size: torch.Tensor) -> torch.Tensor:
        """(n,) bool: rows in which a second score is within rounding of the first."""
        least = top - (self._product_error * size + self._sum_error * top.abs())
        return torch.gt((scores >= least[:, None]).sum(1), 1)

    def _decide_exactly(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Both decisions in float64: the classifier's and the nearest mean's, (n,) int64 each."""
        h = features.double()
        scores = (h - self._centre) @ self._centred.T - self._centred.square().sum(1) / 2
        return (h @ self._weight.T + self._bias).argmax(1), self._classes[scores.argmax(1)]
