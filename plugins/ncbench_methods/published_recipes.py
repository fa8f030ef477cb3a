"""Parts of published recipes that several methods share."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

WANG_COLORED_MNIST: Mapping[str, Any] = MappingProxyType(
    {
        "epochs": 200,
        "batch_size": 256,
        "optimizer": "adam",
        "lr": 1e-3,
        "weight_decay": 1e-5,
        "schedule": "step",
        "schedule_every": 10,
        "schedule_factor": 1.01,
    }
)
"""Wang et al. (CVPR 2024), section 5.1: the learning rate *grows* by 1 % every ten epochs."""

WANG_CORRUPTED_CIFAR10: Mapping[str, Any] = MappingProxyType(
    {
        "epochs": 200,
        "batch_size": 256,
        "optimizer": "sgd",
        "momentum": 0.9,
        "lr": 0.05,
        "weight_decay": 2e-4,
        "schedule": "step",
        "schedule_every": 10,
        "schedule_factor": 1.01,
    }
)
"""Wang et al. (CVPR 2024), published code, for type 0; the learning rate grows as on colored MNIST."""

RESNET50: Mapping[str, Any] = MappingProxyType(
    {
        "optimizer": "sgd",
        "momentum": 0.9,
        "schedule": "constant",
        "input_scaling": "standard",
        "augmentation": "none",
    }
)
"""Sagawa et al. (ICLR 2020), appendix C.2, and Liu et al. (ICML 2021), appendix A: the ResNet-50 experiments."""
