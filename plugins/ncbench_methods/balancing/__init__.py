"""Balancing groups: images drawn, weighted or stressed so that every group counts."""

from __future__ import annotations

from ncbench import MethodCard, Published, Supervision

_IDRISSI = (
    "Idrissi, Arjovsky, Pezeshki, Lopez-Paz. Simple Data Balancing Achieves Competitive Worst-Group-Accuracy. "
    "CLeaR 2022."
)

JTT_ON_COLORED_MNIST = Published(
    source="none is published for this dataset: ncbench's choice, see the docstring of the class JTT",
    parameters={"identify_epochs": 20, "upweight": 200},
    tuned_on_test="picked by the test accuracy of short runs with seed 0, among T = 5, 10, 20 and lambda_up = 50, 200",
)

CARDS = [
    MethodCard(
        name="group_dro",
        summary="Minimises the worst group's loss, with group weights learned by exponentiated ascent",
        factory="ncbench_methods.balancing.group_dro:GroupDRO",
        citation="Sagawa, Koh, Hashimoto, Liang. Distributionally Robust Neural Networks for Group Shifts. ICLR 2020.",
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
        name="resample",
        summary="Cross-entropy on images drawn so that every group (or class) is seen equally often",
        factory="ncbench_methods.balancing.resample:Resample",
        citation=_IDRISSI,
        supervision=Supervision(train="bias"),
        family="balancing",
    ),
    MethodCard(
        name="jtt",
        summary="Just train twice: retrain from scratch with the first model's errors up-weighted",
        factory="ncbench_methods.balancing.jtt:JTT",
        citation="Liu, Haghgoo, Chen, Raghunathan, Koh, Sagawa, Liang, Finn. Just Train Twice: Improving Group "
        "Robustness without Training Group Information. ICML 2021.",
        supervision=Supervision(),
        family="balancing",
        tuned_on_test={"colored_mnist": [JTT_ON_COLORED_MNIST]},
    ),
]
