"""The built-in training methods."""

from __future__ import annotations

from collections.abc import Iterable

from ncbench import MethodCard, Supervision, hookimpl

_IDRISSI = (
    "Idrissi, Arjovsky, Pezeshki, Lopez-Paz. Simple Data Balancing Achieves Competitive Worst-Group-Accuracy. "
    "CLeaR 2022."
)


@hookimpl
def ncbench_methods() -> Iterable[MethodCard]:
    """Return the cards of the built-in methods."""
    return [
        MethodCard(
            name="erm",
            summary="Cross-entropy on a linear classifier: the baseline",
            factory="ncbench_methods.erm:ERM",
            citation="Vapnik. Principles of Risk Minimization for Learning Theory. NeurIPS 1991.",
            supervision=Supervision(),
        ),
        MethodCard(
            name="fixed_etf",
            summary="Classifier frozen to a random simplex ETF; cross-entropy or dot regression",
            factory="ncbench_methods.fixed_etf:FixedETF",
            citation="Yang, Chen, Li, Xie, Lin, Tao. Inducing Neural Collapse in Imbalanced Learning: Do We Really "
            "Need a Learnable Classifier at the End of Deep Neural Network? NeurIPS 2022.",
            supervision=Supervision(),
            frame="simplex ETF",
        ),
        MethodCard(
            name="shortcut_prime",
            summary="ETF-Debias: fixed simplex-ETF primes stand in for the bias attribute while the classifier learns",
            factory="ncbench_methods.shortcut_prime:ShortcutPrime",
            citation="Wang, Sun, Wang, Zhang, Yang. Navigate Beyond Shortcuts: Debiased Learning Through the Lens of "
            "Neural Collapse. CVPR 2024.",
            supervision=Supervision(train="bias"),
        ),
        MethodCard(
            name="group_dro",
            summary="Minimises the worst group's loss, with group weights learned by exponentiated ascent",
            factory="ncbench_methods.group_dro:GroupDRO",
            citation="Sagawa, Koh, Hashimoto, Liang. Distributionally Robust Neural Networks for Group Shifts. "
            "ICLR 2020.",
            supervision=Supervision(train="bias"),
        ),
        MethodCard(
            name="reweight",
            summary="Cross-entropy weighted so that every group (or class) counts the same",
            factory="ncbench_methods.reweight:Reweight",
            citation=_IDRISSI,
            supervision=Supervision(train="bias"),
        ),
        MethodCard(
            name="resample",
            summary="Cross-entropy on images drawn so that every group (or class) is seen equally often",
            factory="ncbench_methods.resample:Resample",
            citation=_IDRISSI,
            supervision=Supervision(train="bias"),
        ),
        MethodCard(
            name="lff",
            summary="Learning from failure: images that a deliberately biased network finds hard weigh more",
            factory="ncbench_methods.lff:LfF",
            citation="Nam, Cha, Ahn, Lee, Shin. Learning from Failure: Training Debiased Classifier from Biased "
            "Classifier. NeurIPS 2020.",
            supervision=Supervision(),
        ),
        MethodCard(
            name="jtt",
            summary="Just train twice: retrain from scratch with the first model's errors up-weighted",
            factory="ncbench_methods.jtt:JTT",
            citation="Liu, Haghgoo, Chen, Raghunathan, Koh, Sagawa, Liang, Finn. Just Train Twice: Improving Group "
            "Robustness without Training Group Information. ICML 2021.",
            supervision=Supervision(),
        ),
        MethodCard(
            name="logit_adjustment",
            summary="Cross-entropy of logits shifted by the logarithm of the class prior",
            factory="ncbench_methods.logit_adjustment:LogitAdjustment",
            citation="Menon, Jayasumana, Rawat, Jain, Veit, Kumar. Long-tail Learning via Logit Adjustment. ICLR 2021.",
            supervision=Supervision(),
        ),
        MethodCard(
            name="balanced_softmax",
            summary="Softmax in which each class weighs as many times as it has training images",
            factory="ncbench_methods.balanced_softmax:BalancedSoftmax",
            citation="Ren, Yu, Sheng, Ma, Zhao, Yi, Li. Balanced Meta-Softmax for Long-Tailed Visual Recognition. "
            "NeurIPS 2020.",
            supervision=Supervision(),
        ),
        MethodCard(
            name="vs_loss",
            summary="Cross-entropy of logits scaled and shifted by class frequency (vector scaling)",
            factory="ncbench_methods.vs_loss:VSLoss",
            citation="Kini, Paraskevas, Oymak, Thrampoulidis. Label-Imbalanced and Group-Sensitive Classification "
            "under Overparameterization. NeurIPS 2021.",
            supervision=Supervision(),
        ),
        MethodCard(
            name="ldam",
            summary="Margins that grow as classes get rarer, optionally with deferred re-weighting",
            factory="ncbench_methods.ldam:LDAM",
            citation="Cao, Wei, Gaidon, Arechiga, Ma. Learning Imbalanced Datasets with Label-Distribution-Aware "
            "Margin Loss. NeurIPS 2019.",
            supervision=Supervision(),
        ),
        MethodCard(
            name="focal",
            summary="Cross-entropy that fades for images that are classified well",
            factory="ncbench_methods.focal:Focal",
            citation="Lin, Goyal, Girshick, He, Dollar. Focal Loss for Dense Object Detection. ICCV 2017.",
            supervision=Supervision(),
        ),
        MethodCard(
            name="cb_loss",
            summary="Cross-entropy weighted by the inverse effective number of each class's images",
            factory="ncbench_methods.cb_loss:CBLoss",
            citation="Cui, Jia, Lin, Song, Belongie. Class-Balanced Loss Based on Effective Number of Samples. "
            "CVPR 2019.",
            supervision=Supervision(),
        ),
        MethodCard(
            name="fixed_seli",
            summary="Classifier frozen to SELI, the geometry of the training set's class counts",
            factory="ncbench_methods.fixed_seli:FixedSELI",
            citation="Thrampoulidis, Kini, Vakilian, Behnia. Imbalance Trouble: Revisiting Neural-Collapse Geometry. "
            "NeurIPS 2022.",
            supervision=Supervision(),
            frame="SELI",
        ),
        MethodCard(
            name="haframe",
            summary="Classifier frozen to a frame whose cosines follow the class hierarchy",
            factory="ncbench_methods.haframe:HAFrame",
            citation="Liang, Davis. Inducing Neural Collapse to a Fixed Hierarchy-Aware Frame for Reducing Mistake "
            "Severity. ICCV 2023.",
            supervision=Supervision(hierarchy=True),
            frame="hierarchy-aware frame",
        ),
    ]
