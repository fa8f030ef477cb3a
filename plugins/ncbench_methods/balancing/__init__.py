"""Balancing: images drawn, weighted or stressed, and features kept from starving, so that what is rare counts."""

from __future__ import annotations

from ncbench import MethodCard, Published, Supervision

_IDRISSI = (
    "Idrissi, Arjovsky, Pezeshki, Lopez-Paz. Simple Data Balancing Achieves Competitive Worst-Group-Accuracy. "
    "CLeaR 2022. https://arxiv.org/abs/2110.14503"
)
_LEVY = (
    "Levy, Carmon, Duchi, Sidford. Large-Scale Methods for Distributionally Robust Optimization. NeurIPS 2020. "
    "https://arxiv.org/abs/2010.05893"
)

JTT_ON_COLORED_MNIST = Published(
    source="none is published for this dataset: ncbench's search of 16 trials, see the docstring of the class JTT",
    parameters={"identify_epochs": 10, "upweight": 200, "equal_epochs": True},
)
_JTT_BEFORE = Published(  # of its two values the search came to the other, upweight=200, too
    source="none is published for this dataset: ncbench's choice until 0.2",
    parameters={"identify_epochs": 20},
    tuned_on_test="picked by the test accuracy of short runs with seed 0, among T = 5, 10 and 20",
)

CARDS = [
    MethodCard(
        name="group_dro",
        summary="Minimises the worst group's loss, with group weights learned by exponentiated ascent",
        factory="ncbench_methods.balancing.group_dro:GroupDRO",
        citation="Sagawa, Koh, Hashimoto, Liang. Distributionally Robust Neural Networks for Group Shifts. ICLR 2020. "
        "https://arxiv.org/abs/1911.08731",
        supervision=Supervision(train="bias"),
        family="balancing",
    ),
    MethodCard(
        name="reweight",
        summary="Cross-entropy weighted so that every group (or class) counts the same",
        factory="ncbench_methods.balancing.reweight:Reweight",
        citation=_IDRISSI,
        supervision=Supervision(train="bias"),
        family="balancing",
    ),
    MethodCard(
        name="sqrt_reweight",
        summary="Cross-entropy weighted by the inverse square root of each group's (or class's) count",
        factory="ncbench_methods.balancing.reweight:SqrtReweight",
        citation="Japkowicz. The Class Imbalance Problem: Significance and Strategies. ICAI 2000; as in Yang, Zhang, "
        "Katabi, Ghassemi. Change is Hard: A Closer Look at Subpopulation Shift. ICML 2023. "
        "https://arxiv.org/abs/2302.12254",
        supervision=Supervision(train="bias"),
        family="balancing",
    ),
    MethodCard(
        name="resample",
        summary="Cross-entropy on images drawn so that every group (or class) is seen equally often",
        factory="ncbench_methods.balancing.resample:Resample",
        citation=_IDRISSI,
        supervision=Supervision(train="bias"),
        family="balancing",
    ),
    MethodCard(
        name="subsample",
        summary="Cross-entropy on as many images of every group (or class) as the smallest one has",
        factory="ncbench_methods.balancing.subsample:Subsample",
        citation=_IDRISSI,
        supervision=Supervision(train="bias"),
        family="balancing",
    ),
    MethodCard(
        name="pde",
        summary="Progressive data expansion: warms up on balanced groups, then adds the other images bit by bit",
        factory="ncbench_methods.balancing.pde:PDE",
        citation="Deng, Yang, Mirzasoleiman, Gu. Robust Learning with Progressive Data Expansion Against Spurious "
        "Correlation. NeurIPS 2023. https://arxiv.org/abs/2306.04949",
        supervision=Supervision(train="bias"),
        family="balancing",
    ),
    MethodCard(
        name="bpa",
        summary="Groups weigh by how rare they are and by their mean loss, with a running mean for each image",
        factory="ncbench_methods.balancing.bpa:BPA",
        citation="Seo, Lee, Han. Unsupervised Learning of Debiased Representations with Pseudo-Attributes. CVPR 2022. "
        "https://arxiv.org/abs/2108.02943",
        supervision=Supervision(train="bias"),
        family="balancing",
    ),
    MethodCard(
        name="cvar_dro",
        summary="Minimises the mean of the largest losses of each batch (conditional value at risk)",
        factory="ncbench_methods.balancing.dro:CVaRDRO",
        citation=_LEVY,
        supervision=Supervision(),
        family="balancing",
    ),
    MethodCard(
        name="chi2_dro",
        summary="Minimises each batch's loss under the worst weights within a chi-square ball",
        factory="ncbench_methods.balancing.dro:Chi2DRO",
        citation="Hashimoto, Srivastava, Namkoong, Liang. Fairness Without Demographics in Repeated Loss "
        f"Minimization. ICML 2018. https://arxiv.org/abs/1806.08010; {_LEVY}",
        supervision=Supervision(),
        family="balancing",
    ),
    MethodCard(
        name="spectral_decoupling",
        summary="Cross-entropy with an L2 penalty on the logits instead of the weights",
        factory="ncbench_methods.balancing.spectral_decoupling:SpectralDecoupling",
        citation="Pezeshki, Kaba, Bengio, Courville, Precup, Lajoie. Gradient Starvation: A Learning Proclivity in "
        "Neural Networks. NeurIPS 2021. https://arxiv.org/abs/2011.09468",
        supervision=Supervision(),
        family="balancing",
    ),
    MethodCard(
        name="jtt",
        summary="Just train twice: retrain from scratch with the first model's errors up-weighted",
        factory="ncbench_methods.balancing.jtt:JTT",
        citation="Liu, Haghgoo, Chen, Raghunathan, Koh, Sagawa, Liang, Finn. Just Train Twice: Improving Group "
        "Robustness without Training Group Information. ICML 2021. https://arxiv.org/abs/2107.09044",
        supervision=Supervision(),
        family="balancing",
        tuned_on_test={"colored_mnist": [_JTT_BEFORE]},
    ),
]
