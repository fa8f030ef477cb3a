"""Images mixed with others of their batch, and their labels with them, or masked in part."""

from __future__ import annotations

from ncbench import MethodCard, Supervision

CARDS = [
    MethodCard(
        name="mixup",
        summary="Cross-entropy on convex combinations of random pairs of images, with their labels' combination",
        factory="ncbench_methods.augmentation.mixup:Mixup",
        citation="Zhang, Cisse, Dauphin, Lopez-Paz. mixup: Beyond Empirical Risk Minimization. ICLR 2018. "
        "https://arxiv.org/abs/1710.09412",
        supervision=Supervision(),
        family="augmentation",
    ),
    MethodCard(
        name="lisa",
        summary="Mixes images of one class with another bias value, or of one bias value with another class",
        factory="ncbench_methods.augmentation.lisa:LISA",
        citation="Yao, Wang, Li, Zhang, Liang, Zou, Finn. Improving Out-of-Distribution Robustness via Selective "
        "Augmentation. ICML 2022. https://arxiv.org/abs/2201.00299",
        supervision=Supervision(train="bias"),
        family="augmentation",
    ),
    MethodCard(
        name="masktune",
        summary="After training, masks what the network looks at most, and trains on what is left for an epoch",
        factory="ncbench_methods.augmentation.masktune:MaskTune",
        citation="Asgari, Khani, Khani, Gholami, Tran, Mahdavi Amiri, Hamarneh. MaskTune: Mitigating Spurious "
        "Correlations by Forcing to Explore. NeurIPS 2022. https://arxiv.org/abs/2210.00055",
        supervision=Supervision(),
        family="augmentation",
    ),
]
