"""Classifiers and primes that are frozen to a configuration of the theory: the simplex ETF, SELI."""

from __future__ import annotations

from ncbench import MethodCard, Supervision

CARDS = [
    MethodCard(
        name="fixed_etf",
        summary="Classifier frozen to a random simplex ETF; cross-entropy or dot regression",
        factory="ncbench_methods.frames.fixed_etf:FixedETF",
        citation="Yang, Chen, Li, Xie, Lin, Tao. Inducing Neural Collapse in Imbalanced Learning: Do We Really "
        "Need a Learnable Classifier at the End of Deep Neural Network? NeurIPS 2022. https://arxiv.org/abs/2203.09081",
        supervision=Supervision(),
        family="frames",
        frame="simplex ETF",
    ),
    MethodCard(
        name="shortcut_prime",
        summary="ETF-Debias: fixed simplex-ETF primes stand in for the bias attribute while the classifier learns",
        factory="ncbench_methods.frames.shortcut_prime:ShortcutPrime",
        citation="Wang, Sun, Wang, Zhang, Yang. Navigate Beyond Shortcuts: Debiased Learning Through the Lens of "
        "Neural Collapse. CVPR 2024. https://arxiv.org/abs/2405.05587",
        supervision=Supervision(train="bias"),
        family="frames",
    ),
    MethodCard(
        name="fixed_seli",
        summary="Classifier frozen to SELI, the geometry of the training set's class counts",
        factory="ncbench_methods.frames.fixed_seli:FixedSELI",
        citation="Thrampoulidis, Kini, Vakilian, Behnia. Imbalance Trouble: Revisiting Neural-Collapse Geometry. "
        "NeurIPS 2022. https://arxiv.org/abs/2208.05512",
        supervision=Supervision(),
        family="frames",
        frame="SELI",
    ),
]
