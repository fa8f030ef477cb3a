"""Features pulled together and pushed apart in pairs."""

from __future__ import annotations

from ncbench import MethodCard, Supervision

_HONG = (
    "Hong, Yang. Unbiased Classification through Bias-Contrastive and Bias-Balanced Learning. "
    "NeurIPS 2021. https://openreview.net/forum?id=2OqZZAqxnn"
)

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
    MethodCard(
        name="bias_contrastive",
        summary="Features of images of one class are drawn together across values of the bias attribute",
        factory="ncbench_methods.contrastive.bias_contrastive:BiasContrastive",
        citation=_HONG,
        supervision=Supervision(train="bias"),
        family="contrastive",
    ),
    MethodCard(
        name="softcon",
        summary="Features of images of one class are drawn together, the less alike by a biased network, the more",
        factory="ncbench_methods.contrastive.softcon:SoftCon",
        citation=_HONG,
        supervision=Supervision(),
        family="contrastive",
    ),
]
