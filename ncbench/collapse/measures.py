"""All neural-collapse measures of a set of features, by the names used in records."""

from __future__ import annotations

import math

import torch

from ncbench.collapse.checks import check_batch, check_classifier
from ncbench.collapse.gram import configuration, etf_floor
from ncbench.collapse.means import ClassMeans, whitening
from ncbench.collapse.precision import full_precision, unit_scale
from ncbench.collapse.residuals import ResidualStatistics
from ncbench.collapse.statistics import ClassStatistics


def measure(
    features: torch.Tensor,
    labels: torch.Tensor,
    weight: torch.Tensor | None = None,
    bias: torch.Tensor | None = None,
    *,
    num_classes: int | None = None,
) -> dict[str, float]:
    """Measure neural collapse of features kept in memory.

    Two passes in blocks: class means in float64, then residuals, projections and decisions in the features' precision
    (float32 at least) on the features' device. Autocast, TF32 and gradients are switched off inside. Every mean of
    class means is unweighted: mu_G is the mean of the class means, whatever the classes' sizes.

    A class without images takes no part: K below is the number of classes that have images, and the classifier's
    geometry is that of their rows. NC4 compares with the classifier's decision among all its rows. To measure the
    collapse onto a bias attribute, pass its labels (without weight) and prefix the names with `bias_`.

    Args:
        features: (N, d) penultimate features h, any floating dtype and device.
        labels: (N,) integer class of each image, 0..num_classes-1.
        weight: (num_classes, d) classifier rows w_c; without it the classifier's measures are left out.
        bias: (num_classes,) classifier bias, used by NC4; zero when None.
        num_classes: size of the label set; from weight, or the largest label, when None.

    Returns:
        Measures by name, each a float; nan where one is undefined (fewer than two classes, coincident means).

        - nc1: tr(Sigma_W Sigma_B^+)/K. Papyan, Han & Donoho (PNAS 2020), NC1.
        - nc1_cdnv: mean over pairs of ``(v_i + v_j)/(2 |mu_i - mu_j|^2)``. Galanti, Gyoergy & Hutter (ICLR 2022),
          eq. 1.
        - nc2_norm_cv: population std / mean of ``|mu_c - mu_G|``; nc2_norm_cv_classifier: of ``|w_c|``.
        - nc2_angle_std: population std over pairs of cos(mu_c - mu_G, mu_c' - mu_G); nc2_angle_mean: mean over pairs of
          ``|cos + 1/(K-1)|``; nc2_angle_std_classifier, nc2_angle_mean_classifier: of w_c. Papyan et al., NC2.
        - nc2_etf_distance: ``|| G/|G|_F - (I - J/K)/sqrt(K-1) ||_F``, G the Gram matrix of mu_c - mu_G;
          nc2_etf_distance_classifier: of w_c; nc2_etf_floor: the smallest value d dimensions allow, 0 if K <= d + 1.
        - nc3_self_duality: ``|| W/|W|_F - M/|M|_F ||_F^2`` with M the rows mu_c - mu_G. Papyan et al., NC3.
        - nc4_disagreement: share of images where argmax(W h + b) differs from ``argmin |h - mu_c|``. Papyan et al.,
          NC4.
        - seli_distance_means, seli_distance_classifier: the same distance to the SELI geometry of the class counts.
          Thrampoulidis et al. (NeurIPS 2022), section 5.

    Raises:
        ValueError: naming the argument and the offending entry: shapes, labels out of range, non-finite numbers, no
            images.

    >>> import torch
    >>> from ncbench.collapse import measure
    >>> corners = torch.eye(3)
    >>> measures = measure(corners.repeat(4, 1), torch.arange(3).repeat(4), weight=corners - 1 / 3)
    >>> measures["nc1"], measures["nc4_disagreement"]
    (0.0, 0.0)
    >>> round(measures["nc2_etf_distance"], 6), round(measures["nc3_self_duality"], 6)
    (0.0, 0.0)
    """
    if num_classes is None:
        num_classes = _count_classes(labels, weight)
    check_batch(features, labels, num_classes)
    check_classifier(weight, bias, num_classes, features.shape[1])
    if len(features) == 0:
        raise ValueError("features must hold at least one image")
    if weight is None and num_classes > len(labels):  # labels may be ids: only those that occur take memory
        _, labels = torch.unique(labels.to(torch.int64), return_inverse=True)
        num_classes = _count_classes(labels, None)
    first = ClassMeans(num_classes, features.shape[1], features.device)
    first.update(features, labels)
    means = first.means
    del first  # its sums are as large as the means
    products = torch.float64 if features.dtype == torch.float64 else torch.float32
    residuals = ResidualStatistics(means, weight, bias, products)
    residuals.update(features, labels)
    return measure_residuals(means, residuals, weight)


def measure_residuals(
    means: torch.Tensor, residuals: ResidualStatistics, weight: torch.Tensor | None = None
) -> dict[str, float]:
    """The measures that two passes over the data give: all of `measure`.

    Args:
        means: (K, d) float64, of the first pass: `ClassMeans.means`.
        residuals: of the second pass, made with these means, and with this weight if NC4 is wanted.
        weight: (K, d) classifier rows; without it the classifier's measures are left out.

    Returns:
        Measures by the names of `measure`.

    >>> import torch
    >>> features, labels = torch.tensor([[1.0, 0.0], [3.0, 0.0], [0.0, 2.0]]), torch.tensor([0, 0, 1])
    >>> means = ClassMeans(2, 2)
    >>> for batch in (slice(0, 1), slice(1, 3)):
    ...     means.update(features[batch], labels[batch])
    >>> residuals = ResidualStatistics(means.means)
    >>> for batch in (slice(0, 1), slice(1, 3)):
    ...     residuals.update(features[batch], labels[batch])
    >>> measure_residuals(means.means, residuals) == measure(features, labels)
    True
    """
    scaled = means if residuals.scale == 1 else means * residuals.scale
    geometry = class_geometry(scaled, residuals.counts, residuals.scaled_variances, weight)
    measures = {"nc1": residuals.nc1, **geometry}
    if weight is not None:
        measures["nc4_disagreement"] = residuals.nc4_disagreement
    return measures


def measure_statistics(statistics: ClassStatistics, weight: torch.Tensor | None = None) -> dict[str, float]:
    """The measures that one pass over the data can give: all of `measure` but NC4, which needs the means first.

    Args:
        statistics: of at least one image.
        weight: (K, d) classifier rows; without it the classifier's measures are left out.

    Returns:
        Measures by the names of `measure`.

    Raises:
        ValueError: when there is no image, or the weight's shape does not fit.

    >>> import torch
    >>> statistics = ClassStatistics(2, 2)
    >>> statistics.update(torch.tensor([[1.0, 0.0], [3.0, 0.0], [0.0, 2.0]]), torch.tensor([0, 0, 1]))
    >>> round(measure_statistics(statistics)["nc1_cdnv"], 6)
    0.0625
    """
    counts, means = statistics.counts, statistics.means
    check_classifier(weight, None, *means.shape)
    if int(counts.sum()) == 0:
        raise ValueError("statistics must have seen at least one image")
    with full_precision(means.device):
        kept = means[counts > 0]
        basis = whitening(kept - kept.mean(0))  # (d, r)
        spread = float((basis * (statistics.scatter @ basis)).sum() / counts.sum())  # tr(A^T Sigma_W A)
    nc1 = max(0.0, spread) / len(kept) if basis.shape[1] else math.nan
    return {"nc1": nc1, **class_geometry(means, counts, statistics.variances, weight)}


def class_geometry(
    means: torch.Tensor, counts: torch.Tensor, variances: torch.Tensor, weight: torch.Tensor | None = None
) -> dict[str, float]:
    """CDNV, NC2, NC3 and the SELI distances: what follows from class statistics alone.

    Args:
        means: (K, d) float64, any value for a class without images.
        counts: (K,) images a class.
        variances: (K,) float64, mean squared distance of a class's features to their mean.
        weight: (K, d) classifier rows.

    Returns:
        Measures by the names of `measure`.
    """
    with full_precision(means.device):
        present = counts > 0
        centred = means[present]  # (P, d)
        centred -= centred.mean(0)  # by the unweighted mean
        k, d = centred.shape
        scale = unit_scale(centred)
        centred *= scale
        of_means = configuration(centred, counts[present], -0.5, variances[present] * scale * scale)
        measures = {
            "nc1_cdnv": of_means.cdnv,
            "nc2_norm_cv": of_means.norm_cv,
            "nc2_angle_std": of_means.angle_std,
            "nc2_angle_mean": of_means.angle_mean,
            "nc2_etf_distance": of_means.etf_distance,
            "nc2_etf_floor": etf_floor(k, d) if k > 1 else math.nan,
            "seli_distance_means": of_means.seli_distance,
        }
        if weight is not None:
            rows = weight.detach().to(means.device, torch.float64)[present]  # (P, d)
            rows *= unit_scale(rows)
            of_rows = configuration(rows, counts[present], 0.5)
            measures |= {
                "nc2_norm_cv_classifier": of_rows.norm_cv,
                "nc2_angle_std_classifier": of_rows.angle_std,
                "nc2_angle_mean_classifier": of_rows.angle_mean,
                "nc2_etf_distance_classifier": of_rows.etf_distance,
                "nc3_self_duality": _self_duality(rows, centred),
                "seli_distance_classifier": of_rows.seli_distance,
            }
    return measures


def _self_duality(rows: torch.Tensor, centred: torch.Tensor) -> float:
    """|| W/|W|_F - M/|M|_F ||_F^2; nan when either is zero."""
    lengths = torch.linalg.matrix_norm(rows), torch.linalg.matrix_norm(centred)
    if min(float(length) for length in lengths) == 0:
        return math.nan
    return float((rows / lengths[0] - centred / lengths[1]).square().sum())


def _count_classes(labels: torch.Tensor, weight: torch.Tensor | None) -> int:
    """K when it is not given: the classifier's rows, or one more than the largest label."""
    if weight is not None and weight.ndim == 2:
        return weight.shape[0]
    return max(1, int(labels.to(torch.int64).max()) + 1) if labels.numel() else 1
