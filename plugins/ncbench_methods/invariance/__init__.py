"""Invariance: features, risks or predictions that are to be the same whatever the bias attribute."""

from __future__ import annotations

from ncbench import MethodCard, Supervision

CARDS = [
    MethodCard(
        name="irm",
        summary="Invariant risk minimisation: a classifier that no attribute value would rescale",
        factory="ncbench_methods.invariance.irm:IRM",
        citation="Arjovsky, Bottou, Gulrajani, Lopez-Paz. Invariant Risk Minimization. 2019. "
        "https://arxiv.org/abs/1907.02893",
        supervision=Supervision(train="bias"),
        family="invariance",
    ),
    MethodCard(
        name="vrex",
        summary="Risk extrapolation: the variance of the risks over attribute values is penalised",
        factory="ncbench_methods.invariance.vrex:VREx",
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
        name="domain_independent",
        summary="A classifier for each attribute value on shared features, averaged at test time",
        factory="ncbench_methods.invariance.domain_independent:DomainIndependent",
        citation="Wang, Qinami, Karakozis, Genova, Nair, Hata, Russakovsky. Towards Fairness in Visual Recognition: "
        "Effective Strategies for Bias Mitigation. CVPR 2020. https://arxiv.org/abs/1911.11834",
        supervision=Supervision(train="bias"),
        family="invariance",
    ),
]
