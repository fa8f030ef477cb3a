"""The built-in metric families."""

from __future__ import annotations

from collections.abc import Iterable

from ncbench import MetricCard, hookimpl

_OF_FEATURES = (
    "nc1",
    "nc1_cdnv",
    "nc2_norm_cv",
    "nc2_angle_std",
    "nc2_angle_mean",
    "nc2_etf_distance",
    "nc2_etf_floor",
    "seli_distance_means",
)
_OF_CLASSIFIER = (
    "nc2_norm_cv_classifier",
    "nc2_angle_std_classifier",
    "nc2_angle_mean_classifier",
    "nc2_etf_distance_classifier",
    "nc3_self_duality",
    "nc4_disagreement",
    "seli_distance_classifier",
)


@hookimpl
def ncbench_metrics() -> Iterable[MetricCard]:
    """Return the cards of the built-in metric families."""
    return [
        MetricCard(
            name="group",
            summary="Accuracies from the integer counts of each group (target, bias)",
            factory="ncbench_metrics.group:GroupMetrics",
            citation="Sagawa, Koh, Hashimoto, Liang. Distributionally Robust Neural Networks for Group Shifts. "
            "ICLR 2020.",
            metrics={
                "accuracy": "higher",
                "group_mean_accuracy": "higher",
                "worst_group_accuracy": "higher",
                "aligned_accuracy": "higher",
                "conflicting_accuracy": "higher",
                "adjusted_accuracy": "higher",
                "class_mean_accuracy": "higher",
                "balanced_error": "lower",
            },
        ),
        MetricCard(
            name="calibration",
            summary="Expected calibration error (15 bins), Brier score, and AUROC for two classes",
            factory="ncbench_metrics.calibration:CalibrationMetrics",
            citation="Guo, Pleiss, Sun, Weinberger. On Calibration of Modern Neural Networks. ICML 2017.",
            metrics={"ece": "lower", "brier": "lower", "auroc": "higher"},
        ),
        MetricCard(
            name="collapse",
            summary="Neural collapse of the training features, onto the target and onto the bias attribute",
            factory="ncbench_metrics.collapse:CollapseMetrics",
            citation="Papyan, Han, Donoho. Prevalence of Neural Collapse during the Terminal Phase of Deep Learning "
            "Training. PNAS 2020.",
            # Neither good nor bad in itself: onto the target it accompanies a fit, onto the bias a shortcut.
            metrics=dict.fromkeys(
                [*_OF_FEATURES, *_OF_CLASSIFIER, *(f"bias_{name}" for name in _OF_FEATURES)], "neither"
            ),
        ),
        MetricCard(
            name="hierarchy",
            summary="How bad mistakes are in the class hierarchy, by the height of the lowest common ancestor",
            factory="ncbench_metrics.hierarchy:HierarchyMetrics",
            citation="Bertinetto, Mueller, Tertikas, Samangooei, Lord. Making Better Mistakes: Leveraging Class "
            "Hierarchies with Deep Networks. CVPR 2020.",
            metrics={
                "mistake_severity": "lower",
                "hierarchical_distance_at_1": "lower",
                "hierarchical_distance_at_5": "lower",
                "hierarchical_distance_at_20": "lower",
                "crm_accuracy": "higher",
                "crm_mistake_severity": "lower",
                **{f"level_{depth}_accuracy": "higher" for depth in range(1, 21)},
            },
        ),
        MetricCard(
            name="frame",
            summary="How closely the class means reproduce the angles of the classifier, with a class hierarchy",
            factory="ncbench_metrics.frame:FrameMetrics",
            citation="Liang, Davis. Inducing Neural Collapse to a Fixed Hierarchy-Aware Frame for Reducing Mistake "
            "Severity. ICCV 2023.",
            metrics=dict.fromkeys(["frame_fidelity_mean", "frame_fidelity_std", "frame_fidelity_deviation"], "neither"),
        ),
    ]
