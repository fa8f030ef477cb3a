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
        weight: (K, d), floating point.
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
        num_classes = len(weight)
        centred = means - means.mean(0)  # (P, d)
        self.uses_residuals = len(means) <= means.shape[1]
        self._means, self._classes = means, classes
        self._weight, self._bias = weight, bias
        rounded = near if self.uses_residuals else means.mean(0)[None].to(dtype)  # (T, d), T = P or 1
        reference = rounded.double()
        self.reference = rounded[0]  # (d,), of use where there is one for all images
        exact_weight = weight.double()
        self._logit_constants = (reference @ exact_weight.T + bias).to(dtype)  # (T, K)
        gap = reference - means.mean(0)
        constants = gap @ centred.T - gap.square().sum(1, keepdim=True) / 2 - centred.square().sum(1) / 2
        # Like the logits, the means' scores have a column for every class; one without images is never the nearest.
        self._mean_constants = near.new_full((len(rounded), num_classes), -torch.inf)  # (T, K)
        self._mean_constants[:, classes] = constants.to(dtype)  # -|reference - mu_c|^2 / 2
        self.weight = weight.T.to(dtype)  # (d, K)
        # (P, r) with centred = inside @ basis.T, or (P, d) with one reference
        inside = (centred @ basis) / basis.square().sum(0) if self.uses_residuals else centred
        self._directions = near.new_zeros(inside.shape[1], num_classes)  # (r, K) or (d, K)
        self._directions[:, classes] = inside.T.to(dtype)
        # Rounding of a score: of the product, in the size of its vectors, and of the constants and the sum.
        eps = torch.finfo(dtype).eps
        of_product = eps * (means.shape[1] ** 0.5 + 8)
        self._logit_error = (of_product * torch.linalg.vector_norm(exact_weight, dim=1).max()).to(dtype)
        self._score_error = (of_product * torch.linalg.vector_norm(centred, dim=1).max()).to(dtype)
        self._sum_error = 8 * eps

    def compare(
        self, x: torch.Tensor, length: torch.Tensor, rows: torch.Tensor, logits: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Where the two decisions differ, and where rounding leaves that open.

        Args:
            x: what the means' scores are linear in: features less the reference (n, d), or with one reference a class
                their projection on the basis (n, r).
            length: (n,), |features - reference|.
            rows: (n,) int64, each image's row of `means`.
            logits: (n, K), (features - reference).w_c; overwritten.

        Returns:
            (n,) bool, the decisions differ; (n,) bool, a second class is within rounding of a decision, which
            `differ_exactly` must settle.
        """
        if self.uses_residuals:
            logits += self._logit_constants.index_select(0, rows)
            scores = self._mean_constants.index_select(0, rows).addmm_(x, self._directions)  # (n, K)
        else:
            logits += self._logit_constants
            scores = torch.addmm(self._mean_constants, x, self._directions)
        # In bytes, which are summed ten times as fast as bool.
        beaten = self._beaten(logits, length * self._logit_error).view(torch.uint8)
        beaten += self._beaten(scores, length * self._score_error).view(torch.uint8)  # (n, K): 0, 1 or 2
        settled = 2 * (beaten.shape[1] - 1)  # one class left unbeaten by each decision
        return torch.gt(beaten.amin(1), 0), torch.lt(beaten.sum(1, dtype=torch.int32), settled)

    def _beaten(self, scores: torch.Tensor, error: torch.Tensor) -> torch.Tensor:
        """(n, K) bool: scores below the largest of their row by more than rounding; none in a row that overflowed."""
        top = scores.amax(1)
        least = torch.sub(top - error, top.abs(), alpha=self._sum_error)
        return torch.lt(scores, least[:, None])

    def differ_exactly(self, features: torch.Tensor) -> torch.Tensor:
        """(n,) bool: where the two decisions differ, in float64, for a few features (n, d) as they came."""
        h = features.double()
        decided = (h @ self._weight.double().T + self._bias).argmax(1)
        centre = self._means.mean(0)
        centred = self._means - centre
        nearest = (((h - centre) @ centred.T).sub_(centred.square().sum(1) / 2)).argmax(1)
        return torch.ne(decided, self._classes[nearest])
