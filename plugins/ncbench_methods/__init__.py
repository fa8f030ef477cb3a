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
    ]
