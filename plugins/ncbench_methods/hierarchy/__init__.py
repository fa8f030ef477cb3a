"""Class hierarchies: classifiers that make mistakes less severe."""

from __future__ import annotations

from dataclasses import replace

from ncbench import MethodCard, Published, Supervision

_BERTINETTO = (
    "Bertinetto, Mueller, Tertikas, Samangooei, Lord. Making Better Mistakes: Leveraging Class Hierarchies with Deep "
    "Networks. CVPR 2020. https://arxiv.org/abs/1912.09393"
)
_SHORTENED = Published(
    source="the suite cifar100_hierarchy of ncbench",
    tuned_on_test="chosen by test accuracy, to come close to that of a method without the head",
)

CARDS = [
    MethodCard(
        name="haframe",
        summary="Classifier frozen to a frame whose cosines follow the class hierarchy",
        factory="ncbench_methods.hierarchy.haframe:HAFrame",
        citation="Liang, Davis. Inducing Neural Collapse to a Fixed Hierarchy-Aware Frame for Reducing Mistake "
        "Severity. ICCV 2023. https://arxiv.org/abs/2303.05689",
        supervision=Supervision(hierarchy=True),
        family="hierarchy",
        frame="hierarchy-aware frame",
        tuned_on_test={"cifar100": [replace(_SHORTENED, recipe={"epochs": epochs}) for epochs in (13, 14)]},
    ),
    MethodCard(
        name="soft_labels",
        summary="Cross-entropy against labels that classes near in the hierarchy share",
        factory="ncbench_methods.hierarchy.soft_labels:SoftLabels",
        citation=_BERTINETTO,
        supervision=Supervision(hierarchy=True),
        family="hierarchy",
    ),
    MethodCard(
        name="hxe",
        summary="Hierarchical cross-entropy: every step from the root down to the class is weighed by its depth",
        factory="ncbench_methods.hierarchy.hxe:HXE",
        citation=_BERTINETTO,
        supervision=Supervision(hierarchy=True),
        family="hierarchy",
    ),
    MethodCard(
        name="crm",
        summary="The class that is expected to be nearest in the hierarchy, by an erm's probabilities",
        factory="ncbench_methods.hierarchy.crm:CRM",
        citation="Karthik, Prabhu, Dokania, Gandhi. No Cost Likelihood Manipulation at Test Time for Making Better "
        "Mistakes in Deep Networks. ICLR 2021. https://openreview.net/forum?id=193sEnKY1ij",
        supervision=Supervision(hierarchy=True),
        family="hierarchy",
        builds_on="erm",
        trains=False,
    ),
    MethodCard(
        name="hier_cos",
        summary="A direction for every node of the hierarchy, and for every class the subspace of its path",
        factory="ncbench_methods.hierarchy.hier_cos:HierCOS",
        citation="Sani, Anand. Learning and Evaluating Hierarchical Feature Representations. CVPR 2026. "
        "https://arxiv.org/abs/2503.07853",
        supervision=Supervision(hierarchy=True),
        family="hierarchy",
    ),
]
