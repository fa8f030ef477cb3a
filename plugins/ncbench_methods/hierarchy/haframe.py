"""Hierarchy-aware frames: a frozen classifier whose cosines follow the distances in the class hierarchy."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from ncbench import Batch, Parameters, Published, Uniform
from ncbench.geometry import hierarchy_aware_frame
from ncbench_methods.hierarchy.transformation_head import TransformedFeatures
from ncbench_methods.search_spaces import LARGE_STEPS

_SOURCE = "Liang and Davis (ICCV 2023), section 4 and the published code's experiments"
RECIPE: Mapping[str, Any] = MappingProxyType(
    {
        "epochs": 100,
        "batch_size": 64,
        "optimizer": "sgd",
        "lr": 0.1,  # with the cosine schedule 0.05 (1 + cos(pi e / 100)), as published
        "momentum": 0.9,
        "weight_decay": 5e-4,
        "schedule": "cosine",
    }
)
"""The published code's, but for batches and augmentation."""


class HAFrameParameters(Parameters):
    """Parameters of :class:`HAFrame`."""

    gamma: float = Field(2.0, gt=0, description="how fast the similarity of two classes falls with their distance")
    mixing: float = Field(0.4, ge=0, le=1, description="alpha, weight of the cosine regression; the rest is CE's")
    backbone_lr_scale: float = Field(0.1, gt=0, description="learning rate of backbone and reduction, by the recipe's")
    head_lr_scale: float = Field(1.0, gt=0, description="learning rate of the transformation head, by the recipe's")


class HAFrame(TransformedFeatures):
    """Features are trained towards a frozen hierarchy-aware frame (Liang and Davis, ICCV 2023, section 3).

    With D_ij the height of the lowest common ancestor of classes i and j, the frame W has K unit rows with
    W W^T = S and

        S_ij = (1 - s) exp(-gamma D_ij / D_max) + s,

    s < 0 the smallest number that keeps S positive semi-definite. There S has rank K - 1; the published code stops up
    to 0.01 short of it. Of a flat hierarchy, W is the simplex ETF. The classifier W has no bias. The loss is

        (1 - alpha) CE(W h, y) + alpha mean_b sum_c (cos(w_c, h_b) - S_{y_b c})^2.

    Head: a linear reduction to K features, BatchNorm, and two residual blocks x + g(x) with g twice
    Linear-BatchNorm-PReLU, without biases. The published reduction is a 1x1 convolution before the average pooling;
    both are linear, so after it, where the backbone ends here, it is the same map. Backbone and reduction learn at a
    tenth of the recipe's rate; so does the head in the published settings of all datasets but FGVC-Aircraft. On
    CIFAR-100, where the backbone starts from random weights, the published code has it so too.

    A batch of one image is normalised by BatchNorm's running statistics. `features` are h, K numbers.
    A search tries gamma from 1 to 5, as the published settings go, and alpha from 0.2 to 0.8.
    Supervision: the class hierarchy.
    """

    Parameters = HAFrameParameters
    frame: Tensor
    similarity: Tensor
    alternative = "Use fixed_etf, which needs none."
    search_space: ClassVar = {
        **LARGE_STEPS,
        "method.gamma": Uniform(1, 5),
        "method.mixing": Uniform(0.2, 0.8),
    }
    published: ClassVar[Mapping[str, Published]] = {
        "cifar100": Published(
            source=f"{_SOURCE}; its WRN-28-8 has leaky ReLUs",
            parameters={"gamma": 2.0, "mixing": 0.4, "head_lr_scale": 0.1},
            recipe={**RECIPE, "augmentation": "crop_flip"},
            backbone="wide_resnet",
        ),
        "fgvc_aircraft": Published(
            source=_SOURCE,
            parameters={"gamma": 1.0, "mixing": 0.5},
            recipe={**RECIPE, "augmentation": "crop_flip"},
            backbone="resnet50:weights=imagenet",
        ),
        "inaturalist": Published(
            source=f"{_SOURCE}, on the version of 2019",
            parameters={"gamma": 5.0, "mixing": 0.4, "head_lr_scale": 0.1},
            recipe={**RECIPE, "batch_size": 256, "augmentation": "resized_crop_flip"},
            backbone="resnet50:weights=imagenet",
        ),
        "tiered_imagenet_h": Published(
            source=f"{_SOURCE}; its backbone is a ResNet-50 pretrained on PASS, without labels",
            parameters={"gamma": 3.0, "mixing": 0.5, "head_lr_scale": 0.1},
            recipe={**RECIPE, "batch_size": 256, "augmentation": "resized_crop_flip"},
        ),
    }

    def build(self) -> None:
        """Create the backbone, the head and the frozen frame."""
        num_classes = self.task.num_classes
        self.build_head(num_classes)
        frame = hierarchy_aware_frame(
            self.task.hierarchy, self.params.gamma, num_classes, generator=self.task.generator("frame")
        )
        self.register_buffer("frame", frame.vectors)  # (K, K) W
        self.register_buffer("similarity", frame.similarity)  # (K, K) S

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the two weighted terms."""
        h = self.features(batch.images)
        with torch.autocast(h.device.type, enabled=False):  # it would round W, whose rows are to have length 1
            h = h.to(self.frame)
            logits = self.classify(h)  # (N, K)
        length = torch.linalg.vector_norm(h, dim=1, keepdim=True)  # (N, 1)
        cosine = logits / length.clamp_min(1e-8)
        deviation = cosine - self.similarity[batch.target]
        alpha = self.params.mixing
        return {
            "cross_entropy": (1 - alpha) * F.cross_entropy(logits, batch.target),
            "similarity": alpha * deviation.square().sum(dim=1).mean(),
        }

    def classify(self, features: Tensor) -> Tensor:
        """Return W h: (N, K) -> (N, K)."""
        return F.linear(features, self.frame)

    def classifier_parameters(self) -> tuple[Tensor, None]:
        """Return W; there is no bias."""
        return self.frame, None
