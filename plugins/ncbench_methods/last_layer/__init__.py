"""The last layer alone: what is fitted anew on the features of a finished erm."""

from __future__ import annotations

from ncbench import MethodCard, Supervision

_KANG = (
    "Kang, Xie, Rohrbach, Yan, Gordo, Feng, Kalantidis. Decoupling Representation and Classifier for Long-Tailed "
    "Recognition. ICLR 2020. https://arxiv.org/abs/1910.09217"
)

CARDS = [
    MethodCard(
        name="dfr",
        summary="Last layer of an erm fitted anew on images balanced over groups (deep feature reweighting)",
        factory="ncbench_methods.last_layer.dfr:DFR",
        citation="Kirichenko, Izmailov, Wilson. Last Layer Re-Training is Sufficient for Robustness to Spurious "
        "Correlations. ICLR 2023. https://arxiv.org/abs/2204.02937",
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
    MethodCard(
        name="lws",
        summary="A scale for each class of an erm, learned with every class seen equally often",
        factory="ncbench_methods.last_layer.lws:LWS",
        citation=_KANG,
        supervision=Supervision(),
        family="last layer",
        builds_on="erm",
    ),
    MethodCard(
        name="afr",
        summary="Last layer refitted on held-out training images, weighted by how hard the erm finds them",
        factory="ncbench_methods.last_layer.afr:AFR",
        citation="Qiu, Potapczynski, Izmailov, Wilson. Simple and Fast Group Robustness by Automatic Feature "
        "Reweighting. ICML 2023. https://arxiv.org/abs/2306.11074",
        supervision=Supervision(),
        family="last layer",
        refits=True,
    ),
    MethodCard(
        name="self_llr",
        summary="Last layer finetuned on held-out images on which an early model and the last one disagree (SELF)",
        factory="ncbench_methods.last_layer.self_llr:SELF",
        citation="LaBonte, Muthukumar, Kumar. Towards Last-layer Retraining for Group Robustness with Fewer "
        "Annotations. NeurIPS 2023. https://openreview.net/forum?id=ZpqzAd263O",
        supervision=Supervision(),
        family="last layer",
        refits=True,
    ),
    MethodCard(
        name="dpe",
        summary="Ensemble of prototype heads on an erm's features, each kept from the directions of those before",
        factory="ncbench_methods.last_layer.dpe:DPE",
        citation="To, Wilson, Nguyen, Harmanani, Cooper, Fooladgar, Abolmaesumi, Mousavi, Krishnan. Diverse "
        "Prototypical Ensembles Improve Robustness to Subpopulation Shift. ICML 2025. "
        "https://github.com/minhto2802/dpe4subpop",
        supervision=Supervision(val="bias"),
        family="last layer",
        builds_on="erm",
        trains=False,
    ),
    MethodCard(
        name="dispel",
        summary="Last layer of an erm fitted on images mixed with images of balanced groups",
        factory="ncbench_methods.last_layer.dispel:DISPEL",
        citation="Xue, Payani, Yang, Mirzasoleiman. Eliminating Spurious Correlations from Pre-trained Models via Data "
        "Mixing. 2023. https://arxiv.org/abs/2305.14521v1",
        supervision=Supervision(val="bias"),
        family="last layer",
        builds_on="erm",
        trains=False,
    ),
    MethodCard(
        name="evals",
        summary="Last layer of an erm fitted on its easiest and its hardest held-out images",
        factory="ncbench_methods.last_layer.evals:EVaLS",
        citation="Ghaznavi, Asadollahzadeh, Hosseini Noohdani, Vafaie Tabar, Hasani, Akbari Alvanagh, Rohban, "
        "Soleymani Baghshah. Trained Models Tell Us How to Make Them Robust to Spurious Correlation without Group "
        "Annotation. 2024. https://arxiv.org/abs/2410.05345",
        supervision=Supervision(val="bias"),
        family="last layer",
        builds_on="erm",
        trains=False,
    ),
]
