"""Invariance: features, risks or predictions that are to be the same whatever the bias attribute."""

from __future__ import annotations

from ncbench import MethodCard, Supervision

CARDS = [
    MethodCard(
        name="irm",
        summary="Invariant risk minimisation: a classifier that no attribute value would rescale",
        factory="ncbench_methods.invariance.risks:IRM",
        citation="Arjovsky, Bottou, Gulrajani, Lopez-Paz. Invariant Risk Minimization. 2019. "
        "https://arxiv.org/abs/1907.02893",
        supervision=Supervision(train="bias"),
        family="invariance",
    ),
    MethodCard(
        name="vrex",
        summary="Risk extrapolation: the variance of the risks over attribute values is penalised",
        factory="ncbench_methods.invariance.risks:VREx",
        citation="Krueger, Caballero, Jacobsen, Zhang, Binas, Zhang, Le Priol, Courville. Out-of-Distribution "
        "Generalization via Risk Extrapolation (REx). ICML 2021. https://arxiv.org/abs/2003.00688",
        supervision=Supervision(train="bias"),
        family="invariance",
    ),
    MethodCard(
        name="mmd",
        summary="Features with the same distribution for every attribute value, by kernel means",
        factory="ncbench_methods.invariance.feature_matching:MMD",
        citation="Li, Pan, Wang, Kot. Domain Generalization with Adversarial Feature Learning. CVPR 2018. "
        "https://openaccess.thecvf.com/content_cvpr_2018/html/"
        "Li_Domain_Generalization_With_CVPR_2018_paper.html",
        supervision=Supervision(train="bias"),
        family="invariance",
    ),
    MethodCard(
        name="coral",
        summary="Features with the same mean and covariance for every attribute value",
        factory="ncbench_methods.invariance.feature_matching:CORAL",
        citation="Sun, Saenko. Deep CORAL: Correlation Alignment for Deep Domain Adaptation. ECCV Workshops 2016. "
        "https://arxiv.org/abs/1607.01719",
        supervision=Supervision(train="bias"),
        family="invariance",
    ),
    MethodCard(
        name="fishr",
        summary="Gradients of the classifier that have the same variance for every attribute value",
        factory="ncbench_methods.invariance.fishr:Fishr",
        citation="Rame, Dancette, Cord. Fishr: Invariant Gradient Variances for Out-of-Distribution Generalization. "
        "ICML 2022. https://arxiv.org/abs/2109.02934",
        supervision=Supervision(train="bias"),
        family="invariance",
    ),
    MethodCard(
        name="domain_independent",
        summary="A classifier for each attribute value on shared features, averaged at test time",
        factory="ncbench_methods.invariance.domain_independent:DomainIndependent",
        citation="Wang, Qinami, Karakozis, Genova, Nair, Hata, Russakovsky. Towards Fairness in Visual Recognition: "
        "Effective Strategies for Bias Mitigation. CVPR 2020. https://arxiv.org/abs/1911.11834",
        supervision=Supervision(train="bias"),
        family="invariance",
    ),
    MethodCard(
        name="dann",
        summary="Features from which a discriminator, trained against them, cannot tell the attribute",
        factory="ncbench_methods.invariance.dann:DANN",
        citation="Ganin, Ustinova, Ajakan, Germain, Larochelle, Laviolette, Marchand, Lempitsky. Domain-Adversarial "
        "Training of Neural Networks. JMLR 2016. https://jmlr.org/papers/v17/15-239.html",
        supervision=Supervision(train="bias"),
        family="invariance",
    ),
    MethodCard(
        name="pgi",
        summary="Predictive group invariance: the same mean prediction of a class for every attribute value",
        factory="ncbench_methods.invariance.pgi:PGI",
        citation="Ahmed, Bengio, van Seijen, Courville. Systematic Generalisation with Group Invariant Predictions. "
        "ICLR 2021. https://openreview.net/forum?id=b9PoimzZFJ",
        supervision=Supervision(train="bias"),
        family="invariance",
    ),
    MethodCard(
        name="end",
        summary="Features of one attribute value disentangled, those of one class with different values entangled",
        factory="ncbench_methods.invariance.end:EnD",
        citation="Tartaglione, Barbano, Grangetto. EnD: Entangling and Disentangling Deep Representations for Bias "
        "Correction. CVPR 2021. https://arxiv.org/abs/2103.02023",
        supervision=Supervision(train="bias"),
        family="invariance",
    ),
    MethodCard(
        name="badd",
        summary="Bias addition: features of the attribute are added in training and left out at test time",
        factory="ncbench_methods.invariance.badd:BAdd",
        citation="Sarridis, Koutlis, Papadopoulos, Diou. BAdd: Bias Mitigation through Bias Addition. 2024. "
        "https://arxiv.org/abs/2408.11439",
        supervision=Supervision(train="bias"),
        family="invariance",
    ),
    MethodCard(
        name="flac",
        summary="Similarities of the features drawn away from those of a network that knows the attribute",
        factory="ncbench_methods.invariance.flac:FLAC",
        citation="Sarridis, Koutlis, Papadopoulos, Diou. FLAC: Fairness-Aware Representation Learning by Suppressing "
        "Attribute-Class Associations. TPAMI 2024. https://ieeexplore.ieee.org/document/10737139",
        supervision=Supervision(train="bias"),
        family="invariance",
    ),
]
