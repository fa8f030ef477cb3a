"""The measures as a textbook writes them: float64, every matrix formed, every pair in a loop or an outer product."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import pytest
import torch


def textbook_measures(
    features: torch.Tensor,
    labels: torch.Tensor,
    weight: torch.Tensor | None = None,
    bias: torch.Tensor | None = None,
) -> dict[str, float]:
    """METRICS by definition, float64. Classes without images take no part, except as decisions of the classifier."""
    h = features.double()
    classes = torch.unique(labels)
    k, d = len(classes), h.shape[1]
    means = torch.stack([h[labels == c].mean(0) for c in classes])
    variances = torch.stack([(h[labels == c] - m).square().sum(1).mean() for c, m in zip(classes, means, strict=True)])
    counts = torch.stack([(labels == c).sum() for c in classes]).double()
    centred = means - means.mean(0)
    residual = h - means[torch.searchsorted(classes, labels)]
    within = residual.T @ residual / len(h)
    between = centred.T @ centred / k
    result = {"nc1": float(torch.trace(within @ torch.linalg.pinv(between, hermitian=True))) / k}
    pairs = [(i, j) for i in range(k) for j in range(i)]
    result["nc1_cdnv"] = sum(
        float((variances[i] + variances[j]) / (2 * (means[i] - means[j]).square().sum())) for i, j in pairs
    ) / len(pairs)
    projector = torch.eye(k, dtype=torch.float64) - 1 / k
    z_squared = projector @ torch.diag(counts) @ projector
    eigenvalues, vectors = torch.linalg.eigh(z_squared)
    root = (vectors[:, 1:] * eigenvalues[1:].sqrt()) @ vectors[:, 1:].T
    ideals = {"_classifier": root, "": torch.linalg.pinv(root, hermitian=True)}
    rows = {"": centred} if weight is None else {"": centred, "_classifier": weight.double()[classes]}
    for suffix, v in rows.items():
        norms = v.norm(dim=1)
        cosines = torch.stack([v[i] @ v[j] / (norms[i] * norms[j]) for i, j in pairs])
        gram = v @ v.T
        result[f"nc2_norm_cv{suffix}"] = float(norms.std(correction=0) / norms.mean())
        result[f"nc2_angle_std{suffix}"] = float(cosines.std(correction=0))
        result[f"nc2_angle_mean{suffix}"] = float((cosines + 1 / (k - 1)).abs().mean())
        result[f"nc2_etf_distance{suffix}"] = float((gram / gram.norm() - projector / math.sqrt(k - 1)).norm())
        ideal = ideals[suffix]
        result[f"seli_distance{suffix or '_means'}"] = float((gram / gram.norm() - ideal / ideal.norm()).norm())
    result["nc2_etf_floor"] = math.sqrt(2 - 2 * math.sqrt(d / (k - 1))) if k > d + 1 else 0.0
    if weight is not None:
        w = weight.double()
        kept = w[classes]
        result["nc3_self_duality"] = float((kept / kept.norm() - centred / centred.norm()).square().sum())
        logits = h @ w.T + (0 if bias is None else bias.double())
        nearest = classes[torch.stack([(h - m).norm(dim=1) for m in means], 1).argmin(1)]
        result["nc4_disagreement"] = float((logits.argmax(1) != nearest).double().mean())
    return result


@pytest.fixture
def textbook() -> Callable[..., dict[str, float]]:
    """The measures as a textbook writes them."""
    return textbook_measures


@pytest.fixture
def assert_agrees() -> Callable[..., None]:
    """Compare every measure with the textbook's, to 1e-5 of it."""

    def check(actual: dict[str, float], expected: dict[str, float], relative: float = 1e-5) -> None:
        assert actual.keys() == expected.keys()
        for name, value in expected.items():
            assert actual[name] == pytest.approx(value, rel=relative, abs=1e-9), name

    return check


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Small tensors gain nothing from a second thread, and lose much to waiting for it on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
