"""Class hierarchies: classifiers that make mistakes less severe."""

from __future__ import annotations

from ncbench import MethodCard, Supervision

CARDS = [
    MethodCard(
        name="haframe",
        summary="Classifier frozen to a frame whose cosines follow the class hierarchy",
        factory="ncbench_methods.hierarchy.haframe:HAFrame",
        citation="Liang, Davis. Inducing Neural Collapse to a Fixed Hierarchy-Aware Frame for Reducing Mistake "
        "Severity. ICCV 2023.",
        supervision=Supervision(hierarchy=True),
        frame="hierarchy-aware frame",
    ),
]
