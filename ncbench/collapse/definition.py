"""The measures as the papers write them: float64, every matrix formed. For small inputs, and to compare with.

`measure` gives the same numbers in other forms: without d x d or K x K matrices, without a pseudo-inverse, whatever the
features' offset. This is what they mean.
"""

from __future__ import annotations

import math

import torch


def measure_by_definition(
    features: torch.Tensor, labels: torch.Tensor, weight: torch.Tensor | None = None, bias: torch.Tensor | None = None
) -> dict[str, float]:
    """Arguments and result are those of `measure`, of at least two classes with images and of distinct means.

    >>> import torch
    >>> from ncbench.collapse import measure
    >>> features, labels = torch.tensor([[1.0, 0.0], [3.0, 1.0], [0.0, 2.0]]), torch.tensor([0, 0, 1])
    >>> round(measure_by_definition(features, labels)["nc1"], 6), round(measure(features, labels)["nc1"], 6)
    (0.053333, 0.053333)
    """
    h = features.double()  # (N, d)
    classes, y = torch.unique(labels, return_inverse=True)  # only classes with images take part
    k, d = len(classes), h.shape[1]
    mu = torch.stack([h[y == c].mean(0) for c in range(k)])  # (K, d)
    centred = mu - mu.mean(0)  # mu_c - mu_G, with the unweighted mean of class means
    residual = h - mu[y]
    sigma_w, sigma_b = residual.T @ residual / len(h), centred.T @ centred / k  # (d, d)
    found = {"nc1": torch.trace(sigma_w @ torch.linalg.pinv(sigma_b, hermitian=True)) / k}

    i, j = torch.triu_indices(k, k, offset=1)  # every pair of classes
    v = torch.stack([residual[y == c].square().sum(1).mean() for c in range(k)])  # (K,)
    found["nc1_cdnv"] = ((v[i] + v[j]) / (2 * (mu[i] - mu[j]).square().sum(1))).mean()

    found["nc2_etf_floor"] = torch.tensor(math.sqrt(2 - 2 * math.sqrt(min(1, d / (k - 1)))))
    projector = torch.eye(k, dtype=h.dtype) - 1 / k  # a simplex ETF's Gram matrix, up to scale
    z = projector @ torch.diag(torch.bincount(y).double()) @ projector  # Z Z^T of SELI, a zero eigenvalue first
    values, basis = torch.linalg.eigh(z)
    seli = {power: (basis[:, 1:] * values[1:] ** power) @ basis[:, 1:].T for power in (0.5, -0.5)}
    sets = {"": (centred, seli[-0.5])}
    if weight is not None:
        sets["_classifier"] = (weight.double()[classes], seli[0.5])
    for suffix, (vectors, ideal) in sets.items():
        gram, norms = vectors @ vectors.T, vectors.norm(dim=1)
        cosines = (gram / torch.outer(norms, norms))[i, j]
        found[f"nc2_norm_cv{suffix}"] = norms.std(correction=0) / norms.mean()
        found[f"nc2_angle_std{suffix}"] = cosines.std(correction=0)
        found[f"nc2_angle_mean{suffix}"] = (cosines + 1 / (k - 1)).abs().mean()
        found[f"nc2_etf_distance{suffix}"] = (gram / gram.norm() - projector / projector.norm()).norm()
        found[f"seli_distance{suffix or '_means'}"] = (gram / gram.norm() - ideal / ideal.norm()).norm()

    if weight is not None:
        w = weight.double()
        rows = w[classes]
        found["nc3_self_duality"] = (rows / rows.norm() - centred / centred.norm()).square().sum()
        decided = (h @ w.T + (0 if bias is None else bias.double())).argmax(1)
        nearest = classes[torch.stack([(h - m).norm(dim=1) for m in mu], dim=1).argmin(1)]
        found["nc4_disagreement"] = (decided != nearest).double().mean()
    return {name: float(value) for name, value in found.items()}
