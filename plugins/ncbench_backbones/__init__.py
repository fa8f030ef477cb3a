"""The built-in backbones: an MLP, a small CNN, the CIFAR ResNet-20, and torchvision's ResNet-18 and ResNet-50."""

from __future__ import annotations

from collections.abc import Iterable

from ncbench import BackboneCard, hookimpl

_HE = "He, Zhang, Ren, Sun. Deep Residual Learning for Image Recognition. CVPR 2016."


@hookimpl
def ncbench_backbones() -> Iterable[BackboneCard]:
    """Return the cards of the built-in backbones."""
    return [
        BackboneCard(
            name="mlp",
            summary="Fully connected network, 3 x 100 with ReLU: the published network of Colored MNIST",
            factory="ncbench_backbones.mlp:MLP",
            citation="Nam, Cha, Ahn, Lee, Shin. Learning from Failure: Training Debiased Classifier from Biased "
            "Classifier. NeurIPS 2020.",
        ),
        BackboneCard(
            name="small_cnn",
            summary="Three 3x3 convolutions with BatchNorm and global average pooling, for small images",
            factory="ncbench_backbones.small_cnn:SmallCNN",
        ),
        BackboneCard(
            name="resnet20",
            summary="The CIFAR ResNet with 20 layers and parameter-free shortcuts",
            factory="ncbench_backbones.resnet20:ResNet20",
            citation=_HE,
        ),
        BackboneCard(
            name="resnet18",
            summary="torchvision's ResNet-18, with a stem that fits small images or pretrained weights",
            factory="ncbench_backbones.torchvision_resnet:ResNet18",
            citation=_HE,
        ),
        BackboneCard(
            name="resnet50",
            summary="torchvision's ResNet-50, with a stem that fits small images or pretrained weights",
            factory="ncbench_backbones.torchvision_resnet:ResNet50",
            citation=_HE,
        ),
    ]
