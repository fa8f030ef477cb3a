"""Two networks: a biased one, and one that learns from what the biased one gets wrong."""

from __future__ import annotations

from ncbench import MethodCard, Supervision

CARDS = [
    MethodCard(
        name="lff",
        summary="Learning from failure: images that a deliberately biased network finds hard weigh more",
        factory="ncbench_methods.two_networks.lff:LfF",
        citation="Nam, Cha, Ahn, Lee, Shin. Learning from Failure: Training Debiased Classifier from Biased "
        "Classifier. NeurIPS 2020. https://arxiv.org/abs/2007.02561",
        supervision=Supervision(),
        family="two networks",
    ),
    MethodCard(
        name="disent",
        summary="Disentangles intrinsic from bias features, and swaps the latter between images",
        factory="ncbench_methods.two_networks.disent:DisEnt",
        citation="Lee, Kim, Lee, Lee, Choo. Learning Debiased Representation via Disentangled Feature Augmentation. "
        "NeurIPS 2021. https://arxiv.org/abs/2107.01372",
        supervision=Supervision(),
        family="two networks",
    ),
    MethodCard(
        name="lc",
        summary="Corrects the logits by the prior of the classes given what a biased network predicts",
        factory="ncbench_methods.two_networks.lc:LC",
        citation="Liu, Zhang, Sekhar, Wu, Singhal, Fernandez-Granda. Avoiding Spurious Correlations via Logit "
        "Correction. ICLR 2023. https://arxiv.org/abs/2212.01433",
        supervision=Supervision(),
        family="two networks",
    ),
    MethodCard(
        name="bias_ensemble",
        summary="lff whose biased network is trained on images alone that several biased networks are sure of",
        factory="ncbench_methods.two_networks.bias_ensemble:BiasEnsemble",
        citation="Lee, Park, Kim, Lee, Choi, Choo. Revisiting the Importance of Amplifying Bias for Debiasing. "
        "AAAI 2023. https://arxiv.org/abs/2205.14594",
        supervision=Supervision(),
        family="two networks",
    ),
    MethodCard(
        name="dpr",
        summary="Draws images as often as a biased network disagrees with their class, and goes on from it",
        factory="ncbench_methods.two_networks.dpr:DPR",
        citation="Han, Kim, Joo, Hong, Lee. Mitigating Spurious Correlations via Disagreement Probability. "
        "NeurIPS 2024. https://arxiv.org/abs/2411.01757",
        supervision=Supervision(),
        family="two networks",
    ),
    MethodCard(
        name="bam",
        summary="Amplifies the bias with a free variable for each image, then up-weights the errors and goes on",
        factory="ncbench_methods.two_networks.bam:BAM",
        citation="Li, Liu, Hu. Bias Amplification Enhances Minority Group Performance. TMLR 2024. "
        "https://arxiv.org/abs/2309.06717",
        supervision=Supervision(),
        family="two networks",
    ),
    MethodCard(
        name="denetdm",
        summary="Separates bias from the rest by depth, and distils a shallow network into a deep one",
        factory="ncbench_methods.two_networks.denetdm:DeNetDM",
        citation="Sreelatha, Kappiyath, Chaudhuri, Dutta. DeNetDM: Debiasing by Network Depth Modulation. "
        "NeurIPS 2024. https://arxiv.org/abs/2403.19863",
        supervision=Supervision(),
        family="two networks",
    ),
    MethodCard(
        name="ecs_ga",
        summary="Scores images by two biased networks that pick for each other, and balances the gradients",
        factory="ncbench_methods.two_networks.ecs_ga:ECSGA",
        citation="Zhao, Chen, Ju, Xiao, Wang, Xia. Combating Unknown Bias with Effective Bias-Conflicting Scoring and "
        "Gradient Alignment. AAAI 2023. https://arxiv.org/abs/2111.13108",
        supervision=Supervision(),
        family="two networks",
    ),
    MethodCard(
        name="debian",
        summary="A discoverer splits classes into what the classifier treats unequally, which the classifier weighs up",
        factory="ncbench_methods.two_networks.debian:DebiAN",
        citation="Li, Hoogs, Xu. Discover and Mitigate Unknown Biases with Debiasing Alternate Networks. ECCV 2022. "
        "https://arxiv.org/abs/2207.10077",
        supervision=Supervision(),
        family="two networks",
    ),
    MethodCard(
        name="rebias",
        summary="Keeps features independent of those of a network that can only see the bias",
        factory="ncbench_methods.two_networks.rebias:ReBias",
        citation="Bahng, Chun, Yun, Choo, Oh. Learning De-biased Representations with Biased Representations. "
        "ICML 2020. https://arxiv.org/abs/1910.02806",
        supervision=Supervision(),
        family="two networks",
    ),
    MethodCard(
        name="selecmix",
        summary="Mixes each image with one that contradicts the bias, and keeps that one's class",
        factory="ncbench_methods.two_networks.selecmix:SelecMix",
        citation="Hwang, Lee, Kwak, Oh, Teney, Kim, Zhang. SelecMix: Debiased Learning by Contradicting-pair Sampling. "
        "NeurIPS 2022. https://arxiv.org/abs/2211.02291",
        supervision=Supervision(),
        family="two networks",
    ),
]
