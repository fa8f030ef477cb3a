"""The last layer alone: what is fitted anew on the features of a finished erm."""

from __future__ import annotations

from ncbench import MethodCard, Supervision

_KANG = (
    "Kang, Xie, Rohrbach, Yan, Gordo, Feng, Kalantidis. Decoupling Representation and Classifier for Long-Tailed "
    "Recognition. ICLR 2020."
)

CARDS = [
    MethodCard(
        name="dfr",
        summary="Last layer of an erm fitted anew on images balanced over groups (deep feature reweighting)",
        factory="ncbench_methods.last_layer.dfr:DFR",
        citation="Kirichenko, Izmailov, Wilson. Last Layer Re-Training is Sufficient for Robustness to Spurious "
        "Correlations. ICLR 2023.",
        supervision=Supervision(train="bias", val="bias"),
        family="last layer",
        builds_on="erm",
        trains=False,
    ),
    MethodCard(
        name="crt",
        summary="Classifier of an erm trained anew with every class (or group) seen equally often",
        factory="ncbench_methods.last_layer.crt:CRT",
        citation=_KANG,
        supervision=Supervision(train="bias"),
        family="last layer",
        builds_on="erm",
    ),
    MethodCard(
        name="tau_norm",
        summary="Class weights of an erm divided by a power of their norms, which evens out frequent and rare classes",
        factory="ncbench_methods.last_layer.tau_norm:TauNorm",
        citation=_KANG,
        supervision=Supervision(),
        family="last layer",
        builds_on="erm",
        trains=False,
    ),
    MethodCard(
        name="ncm",
        summary="Nearest class mean on the features of an erm",
        factory="ncbench_methods.last_layer.ncm:NCM",
        citation=_KANG,
        supervision=Supervision(),
        family="last layer",
        builds_on="erm",
        trains=False,
    ),
]
