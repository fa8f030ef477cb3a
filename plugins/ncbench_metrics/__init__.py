"""The built-in metric families."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from ncbench import Measure, MetricCard, Panel, hookimpl


def _accuracy(label: str, meaning: str, **others: Any) -> Measure:
    """Describe a share of images, which tables show."""
    fields = {"direction": "higher", "unit": "%", "decimals": 2, "shown_in": "tables", **others}
    return Measure(label=label, meaning=meaning, **fields)


def _of_counts(label: str, meaning: str, **others: Any) -> Measure:
    """Describe an accuracy that follows from the counts of groups."""
    return _accuracy(label, meaning, from_counts=True, **others)


def _height(label: str, meaning: str, **others: Any) -> Measure:
    """Describe a mean height in the class hierarchy."""
    fields = {"direction": "lower", "unit": "LCA height", "decimals": 3, "splits": ("val", "test"), **others}
    return Measure(label=label, meaning=meaning, **{"shown_in": "tables", **fields})


def _preference(label: str, meaning: str) -> Measure:
    """Describe a score of how well all classes are ordered."""
    return Measure(
        label=label,
        meaning=meaning,
        direction="higher",
        bounds=(0, 1),
        decimals=3,
        splits=("val", "test"),
        shown_in="record",
    )


def _of_training(label: str, meaning: str, **others: Any) -> Measure:
    """Describe a measure of training features: neither good nor bad in itself.

    Onto the target collapse accompanies a fit, onto the bias a shortcut.
    """
    fields = {"direction": "neither", "splits": ("train",), "shown_in": "record", "bounds": (0, math.inf), **others}
    return Measure(label=label, meaning=meaning, **fields)


GROUP: Mapping[str, Measure] = {
    "accuracy": _of_counts(
        "accuracy", "The share of all test images that are classified correctly.", shown_in="progress"
    ),
    "group_mean_accuracy": _of_counts(
        "group mean",
        "Accuracy within each group (a class with a value of the bias attribute), averaged so that every group counts "
        "once. Elsewhere called unbiased accuracy.",
        needs_bias=True,
        shown_in="progress",
    ),
    "worst_group_accuracy": _of_counts(
        "worst group", "Accuracy within the group that has the lowest one.", needs_bias=True, shown_in="progress"
    ),
    "worst_inferred_group_accuracy": _accuracy(
        "worst inferred group",
        "Accuracy within the group that has the lowest one, where groups were inferred of validation images.",
        splits=("val",),
        needs_groups=True,
        shown_in="tables",
    ),
    "aligned_accuracy": _of_counts(
        "aligned",
        "Averaged over the groups whose bias value is the one that goes along with their class in training.",
        needs_bias=True,
    ),
    "conflicting_accuracy": _of_counts(
        "conflicting",
        "Averaged over the groups whose bias value goes against their class: what a model that follows the shortcut "
        "gets wrong.",
        needs_bias=True,
    ),
    "adjusted_accuracy": _of_counts(
        "adjusted",
        "Groups weighted by their share of the training images: the accuracy on data like those trained on.",
        needs_bias=True,
    ),
    "class_mean_accuracy": _of_counts(
        "class mean", "Accuracy within each class, averaged so that every class counts once."
    ),
    "worst_class_accuracy": _of_counts("worst class", "Accuracy within the class that has the lowest one."),
    "balanced_error": _of_counts("balanced error", "1 less the class mean.", direction="lower", shown_in="record"),
}

HIERARCHY: Mapping[str, Measure] = {
    "mistake_severity": _height(
        "mistake severity",
        "How far a wrong prediction is from the true class: the height of their lowest common ancestor (LCA) in the "
        "class hierarchy, averaged over the images that are classified wrongly.",
    ),
    "hierarchical_distance_at_1": _height(
        "distance@1",
        "The height of the lowest common ancestor of the true and the predicted class, averaged over all images; a "
        "right prediction counts 0.",
    ),
    **{
        f"hierarchical_distance_at_{k}": _height(
            f"distance@{k}", f"The same, averaged over the {k} likeliest classes of each image."
        )
        for k in (5, 20)
    },
    "hops": _preference(
        "HOPS",
        "Hierarchically ordered preference score: 1 where no class is put before one that is nearer to the true class "
        "in the hierarchy, 0 where the order is at its worst; the first places weigh most.",
    ),
    **{
        f"hops_at_{k}": _preference(f"HOPS@{k}", f"The same of the {k} likeliest classes of each image.")
        for k in (5, 20)
    },
    "crm_accuracy": _accuracy(
        "CRM accuracy",
        "The accuracy when the class of the least expected LCA height is predicted in place of the likeliest.",
        splits=("val", "test"),
        shown_in="record",
    ),
    "crm_mistake_severity": _height(
        "CRM severity",
        "The mistake severity when the class of the least expected LCA height is predicted in place of the likeliest.",
        shown_in="record",
    ),
    **{
        f"level_{depth}_accuracy": _accuracy(
            f"level {depth}",
            f"The share of images whose predicted and true class have the same ancestor {depth} below the root.",
            splits=("val", "test"),
            shown_in="record",
        )
        for depth in range(1, 21)
    },
}

CALIBRATION: Mapping[str, Measure] = {
    name: Measure(
        label=label,
        meaning=meaning,
        direction=direction,
        bounds=(0, largest),
        splits=("val", "test"),
        shown_in="record",
    )
    for name, label, direction, largest, meaning in (
        ("ece", "ECE", "lower", 1, "Expected calibration error: |accuracy - confidence|, averaged over 15 bins."),
        ("brier", "Brier score", "lower", 2, "Squared distance of the probabilities to the one-hot target, 0 to 2."),
        (
            "loss",
            "cross-entropy",
            "lower",
            math.inf,
            "-log of the target's probability, whatever the method minimises.",
        ),
        (
            "auroc",
            "AUROC",
            "higher",
            1,
            "Share of pairs of images of two classes that the logits put in the right order.",
        ),
    )
}

_OF_FEATURES: Mapping[str, Measure] = {
    "nc1": _of_training(
        "NC1", "tr(Σ_W Σ_B⁺)/K: spread within classes, relative to that between them", shown_in="tables"
    ),
    "nc1_cdnv": _of_training("CDNV", "(v_i + v_j)/(2|μ_i - μ_j|²), mean over pairs of classes"),
    "nc2_norm_cv": _of_training("NC2 norms", "std/mean of |μ_c - μ_G|: lengths are equal"),
    "nc2_angle_std": _of_training(
        "NC2 angles", "std over pairs of cos(μ_c - μ_G, μ_c' - μ_G): angles are equal", shown_in="tables", bounds=(0, 2)
    ),
    "nc2_angle_mean": _of_training(
        "NC2 largest angles", "mean over pairs of |cos + 1/(K-1)|: angles are the largest possible", bounds=(0, 2)
    ),
    "nc2_etf_distance": _of_training(
        "distance to the ETF", "distance of the means' Gram matrix to the ETF's, 0 to 2", bounds=(0, 2)
    ),
    "nc2_etf_floor": _of_training(
        "least distance to the ETF",
        "the smallest distance to the ETF that d dimensions allow; 0 unless K > d + 1",
        bounds=(0, 2),
    ),
    "seli_distance_means": _of_training(
        "distance to SELI", "distance of the means' Gram matrix to SELI's for these counts, 0 to 2", bounds=(0, 2)
    ),
}

_OF_CLASSIFIER: Mapping[str, Measure] = {
    "nc2_norm_cv_classifier": _of_training("NC2 norms, classifier", "std/mean of |w_c|"),
    "nc2_angle_std_classifier": _of_training(
        "NC2 angles, classifier", "std over pairs of cos(w_c, w_c')", bounds=(0, 2)
    ),
    "nc2_angle_mean_classifier": _of_training(
        "NC2 largest angles, classifier", "mean over pairs of |cos + 1/(K-1)| of the rows w_c", bounds=(0, 2)
    ),
    "nc2_etf_distance_classifier": _of_training(
        "distance to the ETF, classifier", "distance of the rows' Gram matrix to the ETF's, 0 to 2", bounds=(0, 2)
    ),
    "nc3_self_duality": _of_training("NC3", "‖W/‖W‖ - M/‖M‖‖², M the rows μ_c - μ_G", shown_in="tables", bounds=(0, 4)),
    "nc4_disagreement": _of_training(
        "NC4",
        "share of images on which the classifier and the nearest class mean differ",
        shown_in="tables",
        bounds=(0, 1),
    ),
    "seli_distance_classifier": _of_training(
        "distance to SELI, classifier",
        "distance of the rows' Gram matrix to SELI's for these counts, 0 to 2",
        bounds=(0, 2),
    ),
}


def _onto_bias(name: str, measure: Measure) -> Measure:
    """Describe a measure of features in which the bias attribute stands in the target's place."""
    return _of_training(
        f"{measure.label} of the bias",
        f"{measure.meaning}, for the bias attribute in the target's place",
        needs_bias=True,
        shown_in="tables" if name == "nc1" else "record",
        bounds=measure.bounds,
    )


COLLAPSE: Mapping[str, Measure] = {
    each: described
    for name, measure in _OF_FEATURES.items()
    for each, described in ((name, measure), (f"bias_{name}", _onto_bias(name, measure)))
} | dict(_OF_CLASSIFIER)

FRAME: Mapping[str, Measure] = {
    "frame_fidelity_mean": _of_training(
        "frame fidelity", "mean of cos(μ_i, μ_j) - cos(w_i, w_j) over pairs of classes", bounds=(-2, 2)
    ),
    "frame_fidelity_std": _of_training(
        "frame fidelity, std", "std over pairs of cos(μ_i, μ_j) - cos(w_i, w_j)", bounds=(0, 2)
    ),
    "frame_fidelity_deviation": _of_training(
        "frame deviation", "mean over pairs of |cos(μ_i, μ_j) - cos(w_i, w_j)|", bounds=(0, 2)
    ),
}


def _panel(title: str, axis: str, *curves: tuple[str, str], **others: Any) -> Panel:
    """Describe a panel of measures of training features."""
    fields: dict[str, Any] = {"kinds": ("geometry",), **others}
    return Panel(title=f"{title}, train", axis=axis, curves=curves, split="train", **fields)


def _target_and_bias(metric: str) -> tuple[tuple[str, str], tuple[str, str]]:
    return (metric, "of the target"), (f"bias_{metric}", "of the bias")


def _means_and_classifier(metric: str) -> tuple[tuple[str, str], tuple[str, str]]:
    return (metric, "class means"), (f"{metric}_classifier", "classifier")


_BOTH = ("curves", "geometry")
GROUP_PANELS = (
    Panel(title="Group-mean accuracy, test", curves=(("group_mean_accuracy", ""),)),
    Panel(title="Worst-group accuracy, test", curves=(("worst_group_accuracy", ""),)),
    Panel(
        title="Aligned and conflicting groups, test",
        curves=(("aligned_accuracy", "aligned"), ("conflicting_accuracy", "conflicting")),
        axis="accuracy (%)",
    ),
    Panel(title="Accuracy, test", curves=(("accuracy", ""),)),
)
HIERARCHY_PANELS = (
    Panel(title="Mistake severity, test", curves=(("mistake_severity", ""),), axis="mean height of the LCA"),
)
COLLAPSE_PANELS = (
    _panel(
        "NC1: within-class variability",
        r"$\mathrm{tr}(\Sigma_W \Sigma_B^+)\,/\,K$",
        *_target_and_bias("nc1"),
        logarithmic=True,
        kinds=_BOTH,
    ),
    _panel(
        "NC1: class-distance variance (CDNV)",
        "mean over pairs of classes",
        *_target_and_bias("nc1_cdnv"),
        logarithmic=True,
    ),
    _panel(
        "NC2: equal norms",
        r"std / mean of $\Vert\mu_c - \mu_G\Vert$",
        *_target_and_bias("nc2_norm_cv"),
        kinds=("curves",),
    ),
    _panel("NC2: equal norms", "std / mean of norms", *_means_and_classifier("nc2_norm_cv")),
    _panel("NC2: equal angles", "std of cosines", *_target_and_bias("nc2_angle_std"), kinds=("curves",)),
    _panel("NC2: equal angles", "std of cosines", *_means_and_classifier("nc2_angle_std")),
    _panel("NC2: largest angles", r"mean of $|\cos + 1/(K-1)|$", *_means_and_classifier("nc2_angle_mean")),
    _panel(
        "NC3: self-duality",
        r"$\Vert W/\Vert W\Vert_F - M/\Vert M\Vert_F\Vert_F^2$",
        ("nc3_self_duality", ""),
        kinds=_BOTH,
    ),
    _panel("NC4: disagreement with nearest mean", "share of images", ("nc4_disagreement", ""), kinds=_BOTH),
    *(
        _panel(
            f"{title}: distance to the ideal",
            "of Gram matrices of norm 1",
            (f"nc2_etf_distance{suffix}", "to the simplex ETF"),
            (f"seli_distance{suffix or '_means'}", "to SELI"),
            ("nc2_etf_floor", "least to the ETF, of K > d + 1"),
        )
        for title, suffix in (("Class means", ""), ("Classifier", "_classifier"))
    ),
)
FRAME_PANELS = (
    _panel(
        "Angles: means and classifier",
        r"mean of $|\cos(\mu_i, \mu_j) - \cos(w_i, w_j)|$",
        ("frame_fidelity_deviation", ""),
    ),
)


@hookimpl
def ncbench_metrics() -> Iterable[MetricCard]:
    """Return the cards of the built-in metric families, in the order in which tables show them."""
    return [
        MetricCard(
            name="group",
            summary="Accuracies from the integer counts of each group (target, bias)",
            factory="ncbench_metrics.group:GroupMetrics",
            citation="Sagawa, Koh, Hashimoto, Liang. Distributionally Robust Neural Networks for Group Shifts. "
            "ICLR 2020.",
            metrics=GROUP,
            panels=GROUP_PANELS,
        ),
        MetricCard(
            name="hierarchy",
            summary="How bad mistakes are in the class hierarchy, by the height of the lowest common ancestor",
            factory="ncbench_metrics.hierarchy:HierarchyMetrics",
            citation="Bertinetto, Mueller, Tertikas, Samangooei, Lord. Making Better Mistakes: Leveraging Class "
            "Hierarchies with Deep Networks. CVPR 2020.",
            metrics=HIERARCHY,
            panels=HIERARCHY_PANELS,
        ),
        MetricCard(
            name="calibration",
            summary="Expected calibration error (15 bins), Brier score, cross-entropy, and AUROC for two classes",
            factory="ncbench_metrics.calibration:CalibrationMetrics",
            citation="Guo, Pleiss, Sun, Weinberger. On Calibration of Modern Neural Networks. ICML 2017.",
            metrics=CALIBRATION,
        ),
        MetricCard(
            name="collapse",
            summary="Neural collapse of the training features, onto the target and onto the bias attribute",
            factory="ncbench_metrics.collapse:CollapseMetrics",
            citation="Papyan, Han, Donoho. Prevalence of Neural Collapse during the Terminal Phase of Deep Learning "
            "Training. PNAS 2020.",
            metrics=COLLAPSE,
            panels=COLLAPSE_PANELS,
        ),
        MetricCard(
            name="frame",
            summary="How closely the class means reproduce the angles of the classifier, with a class hierarchy",
            factory="ncbench_metrics.frame:FrameMetrics",
            citation="Liang, Davis. Inducing Neural Collapse to a Fixed Hierarchy-Aware Frame for Reducing Mistake "
            "Severity. ICCV 2023.",
            metrics=FRAME,
            panels=FRAME_PANELS,
        ),
    ]
