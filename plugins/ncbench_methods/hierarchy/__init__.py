"""Class hierarchies: classifiers that make mistakes less severe."""

from __future__ import annotations

from dataclasses import replace

from ncbench import MethodCard, Published, Supervision

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
        "Severity. ICCV 2023.",
        supervision=Supervision(hierarchy=True),
        family="hierarchy",
        frame="hierarchy-aware frame",
        tuned_on_test={"cifar100": [replace(_SHORTENED, recipe={"epochs": epochs}) for epochs in (13, 14)]},
    ),
]
