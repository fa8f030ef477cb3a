"""Features pulled together and pushed apart in pairs."""

from __future__ import annotations

from ncbench import MethodCard, Supervision

CARDS = [
    MethodCard(
        name="cnc",
        summary="Correct-n-contrast: pulls images of a class with different groups together, other classes' away",
        factory="ncbench_methods.contrastive.cnc:CnC",
        citation="Zhang, Sohoni, Zhang, Finn, Re. Correct-N-Contrast: A Contrastive Approach for Improving Robustness "
        "to Spurious Correlations. ICML 2022. https://arxiv.org/abs/2203.01517",
        supervision=Supervision(train="bias"),
        family="contrastive",
    ),
]
