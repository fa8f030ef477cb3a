"""Imbalanced classes: margins, shifts and weights that follow the class counts."""

from __future__ import annotations

from ncbench import MethodCard, Supervision

CARDS = [
    MethodCard(
        name="logit_adjustment",
        summary="Cross-entropy of logits shifted by the logarithm of the class prior",
        factory="ncbench_methods.imbalance.logit_adjustment:LogitAdjustment",
        citation="Menon, Jayasumana, Rawat, Jain, Veit, Kumar. Long-tail Learning via Logit Adjustment. ICLR 2021. "
        "https://arxiv.org/abs/2007.07314",
        supervision=Supervision(),
        family="imbalance",
    ),
    MethodCard(
        name="balanced_softmax",
        summary="Softmax in which each class weighs as many times as it has training images",
        factory="ncbench_methods.imbalance.balanced_softmax:BalancedSoftmax",
        citation="Ren, Yu, Sheng, Ma, Zhao, Yi, Li. Balanced Meta-Softmax for Long-Tailed Visual Recognition. "
        "NeurIPS 2020. https://arxiv.org/abs/2007.10740",
        supervision=Supervision(),
        family="imbalance",
    ),
    MethodCard(
        name="bias_balance",
        summary="Cross-entropy of logits shifted by the logarithm of the class prior given the bias attribute",
        factory="ncbench_methods.imbalance.bias_balance:BiasBalance",
        citation="Hong, Yang. Unbiased Classification through Bias-Contrastive and Bias-Balanced Learning. "
        "NeurIPS 2021. https://openreview.net/forum?id=2OqZZAqxnn",
        supervision=Supervision(train="bias"),
        family="imbalance",
    ),
    MethodCard(
        name="vs_loss",
        summary="Cross-entropy of logits scaled and shifted by class frequency (vector scaling)",
        factory="ncbench_methods.imbalance.vs_loss:VSLoss",
        citation="Kini, Paraskevas, Oymak, Thrampoulidis. Label-Imbalanced and Group-Sensitive Classification "
        "under Overparameterization. NeurIPS 2021. https://arxiv.org/abs/2103.01550",
        supervision=Supervision(),
        family="imbalance",
    ),
    MethodCard(
        name="ldam",
        summary="Margins that grow as classes get rarer, optionally with deferred re-weighting",
        factory="ncbench_methods.imbalance.ldam:LDAM",
        citation="Cao, Wei, Gaidon, Arechiga, Ma. Learning Imbalanced Datasets with Label-Distribution-Aware "
        "Margin Loss. NeurIPS 2019. https://arxiv.org/abs/1906.07413",
        supervision=Supervision(),
        family="imbalance",
    ),
    MethodCard(
        name="focal",
        summary="Cross-entropy that fades for images that are classified well",
        factory="ncbench_methods.imbalance.focal:Focal",
        citation="Lin, Goyal, Girshick, He, Dollar. Focal Loss for Dense Object Detection. ICCV 2017. "
        "https://arxiv.org/abs/1708.02002",
        supervision=Supervision(),
        family="imbalance",
    ),
    MethodCard(
        name="cb_loss",
        summary="Cross-entropy weighted by the inverse effective number of each class's images",
        factory="ncbench_methods.imbalance.cb_loss:CBLoss",
        citation="Cui, Jia, Lin, Song, Belongie. Class-Balanced Loss Based on Effective Number of Samples. CVPR 2019. "
        "https://arxiv.org/abs/1901.05555",
        supervision=Supervision(),
        family="imbalance",
    ),
    MethodCard(
        name="learned_mixin",
        summary="The classes' prior given the attribute added, as far as each image asks for it, while training",
        factory="ncbench_methods.imbalance.learned_mixin:LearnedMixin",
        citation="Clark, Yatskar, Zettlemoyer. Don't Take the Easy Way Out: Ensemble Based Methods for Avoiding Known "
        "Dataset Biases. EMNLP 2019. https://arxiv.org/abs/1909.03683",
        supervision=Supervision(train="bias"),
        family="imbalance",
    ),
    MethodCard(
        name="rubi",
        summary="Logits masked, while training, by what the attribute alone says of the class",
        factory="ncbench_methods.imbalance.rubi:RUBi",
        citation="Cadene, Dancette, Ben-younes, Cord, Parikh. RUBi: Reducing Unimodal Biases for Visual Question "
        "Answering. NeurIPS 2019. https://arxiv.org/abs/1906.10169",
        supervision=Supervision(train="bias"),
        family="imbalance",
    ),
]
