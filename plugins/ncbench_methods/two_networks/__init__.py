"""Two networks: a biased one, and one that learns from what the biased one gets wrong."""

from __future__ import annotations

from ncbench import MethodCard, Supervision

CARDS = [
    MethodCard(
        name="lff",
        summary="Learning from failure: images that a deliberately biased network finds hard weigh more",
        factory="ncbench_methods.two_networks.lff:LfF",
        citation="Nam, Cha, Ahn, Lee, Shin. Learning from Failure: Training Debiased Classifier from Biased "
        "Classifier. NeurIPS 2020.",
        supervision=Supervision(),
        family="two networks",
    ),
]
