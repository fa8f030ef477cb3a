"""The built-in datasets."""

from __future__ import annotations

from collections.abc import Iterable

from ncbench import DatasetCard, hookimpl

_LFF = "Nam et al., Learning from Failure: Training Debiased Classifier from Biased Classifier, NeurIPS 2020"
_KRIZHEVSKY = (
    "Krizhevsky, Learning Multiple Layers of Features from Tiny Images, technical report, University of Toronto, 2009"
)
_UFM = (
    "Mixon, Parshall & Pi, Neural Collapse with Unconstrained Features, arXiv:2011.11619, 2020; Fang, He, Long & Su, "
    "Exploring Deep Neural Networks via Layer-Peeled Model: Minority Collapse in Imbalanced Training, PNAS, 2021"
)
_SAGAWA = (
    "Sagawa, Koh, Hashimoto & Liang, Distributionally Robust Neural Networks for Group Shifts: On the Importance of "
    "Regularization for Worst-Case Generalization, ICLR 2020"
)

_JOSHI = (
    "Joshi, Yang, Xue, Yang & Mirzasoleiman, Towards Mitigating Spurious Correlations in the Wild: A Benchmark and a "
    "more Realistic Dataset, arXiv:2306.11957, 2023"
)

_YOURS = "whoever made your data"


def _card(name: str, summary: str, kind: str, citation: str) -> DatasetCard:
    return DatasetCard(
        name=name,
        summary=summary,
        factory=f"ncbench_datasets.{name}:{kind}",
        citation=citation,
        manifest=f"ncbench:datasets_manifest/{name}.yaml",
    )


@hookimpl
def ncbench_datasets() -> Iterable[DatasetCard]:
    """Return the cards of the built-in datasets."""
    return [
        _card(
            "colored_digits",
            "1,797 real 8x8 digits in ten colours that give the digit away; embedded, works offline",
            "ColoredDigits",
            "Alpaydin & Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning Repository, 1998; "
            "coloured as in " + _LFF,
        ),
        _card("colored_mnist", "MNIST in ten colours that give the digit away (LfF protocol)", "ColoredMnist", _LFF),
        _card(
            "irm_mnist",
            "MNIST in two colours that predict noisy labels best in training, and mislead in the test",
            "IrmMnist",
            "Arjovsky, Bottou, Gulrajani & Lopez-Paz, Invariant Risk Minimization, arXiv:1907.02893, 2019",
        ),
        _card(
            "spuco_mnist",
            "SpuCoMNIST: pairs of digits before backgrounds whose colour gives the pair away",
            "SpuCoMnist",
            _JOSHI,
        ),
        _card(
            "cifar100",
            "CIFAR-100, 100 classes of small photographs, with a class tree of height 5",
            "Cifar100",
            _KRIZHEVSKY + "; tree of Liang & Davis, Inducing Neural Collapse to a Fixed Hierarchy-Aware Frame for "
            "Reducing Mistake Severity, ICCV 2023",
        ),
        _card("cifar10", "CIFAR-10, 10 classes of small photographs", "Cifar10", _KRIZHEVSKY),
        _card(
            "mnist",
            "MNIST, handwritten digits in grey",
            "Mnist",
            "LeCun et al., Gradient-Based Learning Applied to Document Recognition, Proceedings of the IEEE, 1998",
        ),
        _card(
            "fashion_mnist",
            "Fashion-MNIST, pictures of clothes in grey",
            "FashionMnist",
            "Xiao, Rasul & Vollgraf, Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning "
            "Algorithms, arXiv:1708.07747, 2017",
        ),
        _card(
            "svhn",
            "Street View House Numbers, cropped digits in colour",
            "Svhn",
            "Netzer et al., Reading Digits in Natural Images with Unsupervised Feature Learning, NIPS Workshop on Deep "
            "Learning and Unsupervised Feature Learning, 2011",
        ),
        _card(
            "stl10",
            "STL-10, 10 classes of photographs of 96 x 96 pixels, the labelled images",
            "Stl10",
            "Coates, Lee & Ng, An Analysis of Single-Layer Networks in Unsupervised Feature Learning, AISTATS 2011",
        ),
        _card(
            "imagenet",
            "ImageNet, the 1,000 classes of ILSVRC 2012; its validation images are the test split",
            "ImageNet",
            "Russakovsky et al., ImageNet Large Scale Visual Recognition Challenge, IJCV 2015",
        ),
        _card(
            "inaturalist",
            "iNaturalist 2021 (10,000 species) or 2019 (1,010), with the tree of life above them, of height 7",
            "Inaturalist",
            "Van Horn et al., Benchmarking Representation Learning for Natural World Image Collections, CVPR 2021",
        ),
        _card(
            "fgvc_aircraft",
            "FGVC-Aircraft, 100 aircraft variants with family and manufacturer above them, of height 3",
            "FgvcAircraft",
            "Maji, Kannala, Rahtu, Blaschko & Vedaldi, Fine-Grained Visual Classification of Aircraft, "
            "arXiv:1306.5151, 2013",
        ),
        _card(
            "tiered_imagenet_h",
            "tieredImageNet-H, 608 classes of ImageNet with a WordNet tree of height 12",
            "TieredImageNetH",
            "Bertinetto et al., Making Better Mistakes: Leveraging Class Hierarchies with Deep Networks, CVPR 2020",
        ),
        _card(
            "waterbirds",
            "Waterbirds: land- and waterbirds, in training nearly always at their usual place",
            "Waterbirds",
            _SAGAWA,
        ),
        _card(
            "celeba",
            "CelebA: any of 40 attributes of faces as the class, by default blond hair, any other as the bias",
            "Celeba",
            "Liu, Luo, Wang & Tang, Deep Learning Face Attributes in the Wild, ICCV 2015",
        ),
        _card(
            "bffhq",
            "BFFHQ: faces told apart by age, which in training goes along with gender",
            "Bffhq",
            "Kim, Lee & Choo, BiaSwap: Removing Dataset Bias with Bias-Tailored Swapping Augmentation, ICCV 2021",
        ),
        _card(
            "dogs_and_cats",
            "Dogs & Cats: pets told apart, which in training goes along with bright or dark fur",
            "DogsAndCats",
            "Kim et al., Learning Not to Learn: Training Deep Neural Networks with Biased Data, CVPR 2019; Lee et al., "
            "Revisiting the Importance of Amplifying Bias for Debiasing, AAAI 2023",
        ),
        _card(
            "urbancars",
            "UrbanCars: cars told apart, which in training go along with a background and with an object",
            "UrbanCars",
            "Li et al., A Whac-A-Mole Dilemma: Shortcuts Come in Multiples Where Mitigating One Amplifies Others, "
            "CVPR 2023",
        ),
        _card(
            "spuco_animals",
            "SpuCoAnimals: birds and dogs of ImageNet, in training nearly always at their usual place",
            "SpuCoAnimals",
            _JOSHI,
        ),
        _card(
            "metashift",
            "MetaShift's cats and dogs, told apart, which go along with being in and out of doors",
            "MetaShift",
            "Liang & Zou, MetaShift: A Dataset of Datasets for Evaluating Contextual Distribution Shifts and Training "
            "Conflicts, ICLR 2022",
        ),
        _card(
            "nico_plus_plus",
            "NICO++: 60 classes in six contexts, two of which are left to the test",
            "NicoPlusPlus",
            "Zhang et al., NICO++: Towards Better Benchmarking for Domain Generalization, CVPR 2023",
        ),
        _card(
            "spawrious",
            "Spawrious: generated dogs whose breed goes along with the place, tested at others' places",
            "Spawrious",
            "Lynch, Dovonon, Kaddour & Silva, Spawrious: A Benchmark for Fine Control of Spurious Correlation Biases, "
            "arXiv:2303.05470, 2023",
        ),
        _card(
            "imagenet9",
            "ImageNet-9: nine classes of ImageNet, tested before backgrounds of other images",
            "ImageNet9",
            "Xiao, Engstrom, Ilyas & Madry, Noise or Signal: The Role of Image Backgrounds in Object Recognition, "
            "ICLR 2021",
        ),
        _card(
            "corrupted_cifar10",
            "CIFAR-10 with ten corruptions that give the class away, of two types and five severities (LfF protocol)",
            "CorruptedCifar10",
            _LFF + "; corruptions of Hendrycks & Dietterich, Benchmarking Neural Network Robustness to Common "
            "Corruptions and Perturbations, ICLR 2019",
        ),
        _card("bar", "Biased Action Recognition: actions at their usual places, tested at unusual ones", "Bar", _LFF),
        _card(
            "ufm",
            "Unconstrained features model, the theory's laboratory: samples without images, features without a network",
            "UFM",
            _UFM,
        ),
        _card("table", "Your own images, listed in a table with classes and bias attributes", "Table", _YOURS),
        _card("folder", "Your own images, in folders that say their class and bias attribute", "Folder", _YOURS),
        _card("features", "Your own feature vectors, such as another model's of a dataset", "Features", _YOURS),
    ]
