"""Multinomial logistic regression with an L1 penalty, for any number of classes, on any device."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

_MOST_STEPS = 3000
_GROWTH = 1.1
_ROUNDING = 1e-13  # of two losses that are compared


def fit_l1_logistic(
    features: Tensor,
    target: Tensor,
    num_classes: int,
    C: float,
    class_weight: Tensor | None = None,
    tolerance: float = 1e-5,
) -> tuple[Tensor, Tensor]:
    """Minimise C sum_i w_{y_i} CE(W x_i + b, y_i) + |W|_1; the bias is not penalised.

    By FISTA (Beck and Teboulle, SIAM J. Imaging Sciences 2009) from zero, with the momentum restarted where it points
    uphill (O'Donoghue and Candes, Found. Comput. Math. 2015). The step begins at 1 / L for the bound
    L = lambda_max(X' X) / 2 on the Hessian of the cross-entropy (Bohning, 1992), grows, and is halved where it is too
    long. It is the problem of scikit-learn's ``LogisticRegression`` with ``solver="saga"`` and an L1 penalty. With two
    classes its rows are opposite, -w/2 and w/2 of the binary fit's w.

    Args:
        features: (N, d), in the precision to compute in.
        target: (N,) int64.
        num_classes: K.
        C: Weight of the loss.
        class_weight: (K,) weights w of the classes; None for 1.
        tolerance: Largest entry of the proximal gradient of the mean loss at which it ends; after 3,000 steps it ends
            in any case.

    Returns:
        The weight (K, d) and the bias (K,).
    """
    inputs = torch.cat([features, torch.ones_like(features[:, :1])], dim=1)  # (N, d + 1)
    weight = torch.ones_like(features[:, 0]) if class_weight is None else class_weight.to(features)[target]
    share = weight / weight.sum()  # (N,)
    expected = F.one_hot(target, num_classes).to(features)
    penalty = float(1 / (C * weight.sum()))
    step = 2 / max(_largest_eigenvalue(share.sqrt()[:, None] * inputs), torch.finfo(features.dtype).tiny)

    def mean_loss(logits: Tensor) -> Tensor:
        return (share * F.cross_entropy(logits, target, reduction="none")).sum()

    found = ahead = features.new_zeros(num_classes, inputs.shape[1])  # (K, d + 1), the bias last
    momentum = 1.0
    for _ in range(_MOST_STEPS):
        logits = inputs @ ahead.T
        loss, gradient = mean_loss(logits), ((logits.softmax(dim=1) - expected) * share[:, None]).T @ inputs
        while True:
            moved = ahead - step * gradient
            moved[:, :-1] = F.softshrink(moved[:, :-1], step * penalty)
            change = moved - ahead
            bound = loss + (gradient * change).sum() + change.square().sum() / (2 * step)
            if mean_loss(inputs @ moved.T) <= bound + _ROUNDING:
                break
            step /= 2
        if change.abs().max() <= step * tolerance:
            return moved[:, :-1], moved[:, -1]
        if (change * (moved - found)).sum() < 0:
            momentum = 1.0
        following = (1 + (1 + 4 * momentum**2) ** 0.5) / 2
        ahead = moved + (momentum - 1) / following * (moved - found)
        found, momentum, step = moved, following, step * _GROWTH
    return found[:, :-1], found[:, -1]


def _largest_eigenvalue(matrix: Tensor) -> float:
    """Return lambda_max(A' A) of A (N, d)."""
    gram = matrix @ matrix.T if len(matrix) < matrix.shape[1] else matrix.T @ matrix
    return float(torch.linalg.eigvalsh(gram)[-1])
