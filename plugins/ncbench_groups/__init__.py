"""The built-in ways to infer groups. This module is a plugin like any other; it imports no torch."""

from __future__ import annotations

from collections.abc import Iterable

from ncbench import GroupsCard, Supervision, hookimpl

_CARDS = (
    GroupsCard(
        name="attribute",
        summary="The dataset's own bias attribute, the default: nothing is inferred",
        factory="ncbench_groups.attribute:Attribute",
        citation="Sagawa, Koh, Hashimoto, Liang. Distributionally Robust Neural Networks for Group Shifts. ICLR 2020. "
        "https://arxiv.org/abs/1911.08731",
        supervision=Supervision(train="bias"),
        trains=False,
    ),
    GroupsCard(
        name="errors",
        summary="What a reference model gets wrong, and the rest: the error set of just train twice",
        factory="ncbench_groups.errors:Errors",
        citation="Liu, Haghgoo, Chen, Raghunathan, Koh, Sagawa, Liang, Finn. Just Train Twice: Improving Group "
        "Robustness without Training Group Information. ICML 2021. https://arxiv.org/abs/2107.09044",
        supervision=Supervision(),
    ),
    GroupsCard(
        name="eiil",
        summary="Two environments between which a reference model is the least invariant",
        factory="ncbench_groups.eiil:EIIL",
        citation="Creager, Jacobsen, Zemel. Environment Inference for Invariant Learning. ICML 2021. "
        "https://arxiv.org/abs/2010.07249",
        supervision=Supervision(),
    ),
    GroupsCard(
        name="predictions",
        summary="The classes that a reference model takes the images for: the groups of correct-n-contrast",
        factory="ncbench_groups.predictions:Predictions",
        citation="Zhang, Sohoni, Zhang, Finn, Re. Correct-N-Contrast: A Contrastive Approach for Improving Robustness "
        "to Spurious Correlations. ICML 2022. https://arxiv.org/abs/2203.01517",
        supervision=Supervision(),
    ),
    GroupsCard(
        name="probe",
        summary="The classes that a linear probe of fixed features takes the images for: the groups of uLA",
        factory="ncbench_groups.probe:Probe",
        citation="Tsirigotis, Monteiro, Rodriguez, Vazquez, Courville. Group Robust Classification Without Any Group "
        "Information. NeurIPS 2023. https://arxiv.org/abs/2310.18555",
        supervision=Supervision(),
    ),
    GroupsCard(
        name="clusters",
        summary="Clusters of each class by k-means of a reference model's features",
        factory="ncbench_groups.clusters:Clusters",
        citation="Seo, Lee, Han. Unsupervised Learning of Debiased Representations with Pseudo-Attributes. CVPR 2022. "
        "https://arxiv.org/abs/2108.02943",
        supervision=Supervision(),
    ),
    GroupsCard(
        name="george",
        summary="Subclasses of each class, estimated by how far a reference model's features are from its boundary",
        factory="ncbench_groups.george:GEORGE",
        citation="Sohoni, Dunnmon, Angus, Gu, Re. No Subclass Left Behind: Fine-Grained Robustness in Coarse-Grained "
        "Classification Problems. NeurIPS 2020. https://arxiv.org/abs/2011.12945",
        supervision=Supervision(),
    ),
    GroupsCard(
        name="spare",
        summary="Clusters of each class by k-means of a network's outputs after its first epochs",
        factory="ncbench_groups.spare:SPARE",
        citation="Yang, Gan, Dziugaite, Mirzasoleiman. Identifying Spurious Biases Early in Training through the Lens "
        "of Simplicity Bias. AISTATS 2024. https://arxiv.org/abs/2305.18761",
        supervision=Supervision(),
    ),
    GroupsCard(
        name="ssa",
        summary="The bias attribute, as told by networks that learn it from the validation images and from themselves",
        factory="ncbench_groups.ssa:SSA",
        citation="Nam, Kim, Lee, Shin. Spread Spurious Attribute: Improving Worst-group Accuracy with Spurious "
        "Attribute Estimation. ICLR 2022. https://arxiv.org/abs/2204.02070",
        supervision=Supervision(val="bias"),
    ),
    GroupsCard(
        name="xrm",
        summary="What either of two twins gets wrong that relabel each other's held-out images as they train",
        factory="ncbench_groups.xrm:XRM",
        citation="Pezeshki, Bouchacourt, Ibrahim, Ballas, Vincent, Lopez-Paz. Discovering Environments with XRM. "
        "ICML 2024. https://arxiv.org/abs/2309.16748",
        supervision=Supervision(),
    ),
)


@hookimpl
def ncbench_groups() -> Iterable[GroupsCard]:
    """Return the cards of the built-in ways to infer groups."""
    return _CARDS
