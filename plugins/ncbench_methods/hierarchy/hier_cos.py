"""Hier-COS: every node of the class hierarchy has a coordinate, and a class the subspace of its path."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from ncbench import Batch, LogUniform, Parameters, Published
from ncbench_methods.hierarchy.haframe import RECIPE
from ncbench_methods.hierarchy.levels import Levels
from ncbench_methods.hierarchy.transformation_head import TransformedFeatures
from ncbench_methods.search_spaces import LARGE_STEPS

_SOURCE = "Sani and Anand (CVPR 2026), the published code's experiments"


class HierCOSParameters(Parameters):
    """Parameters of :class:`HierCOS`."""

    alpha: float = Field(0.05, ge=0, description="weight of the auxiliary loss, which makes every level one-hot")
    backbone_lr_scale: float = Field(0.1, gt=0, description="learning rate of backbone and reduction, by the recipe's")
    head_lr_scale: float = Field(0.1, gt=0, description="learning rate of the transformation head, by the recipe's")


class HierCOS(TransformedFeatures):
    """Features in a space with an orthonormal direction for each node of the hierarchy (Sani and Anand, CVPR 2026).

    The head is haframe's, as wide as there are nodes but the root; z = Q h with Q fixed and orthonormal. A class owns
    the coordinates of its path, from below the root to itself, and its score is the norm of z on them. The loss is

        KL(q_y || softmax(|z|)) + alpha L_aux,

    where q_y is on the path of y: at level l of a path of length D in proportion to exp(2 / (D - l + 1)). L_aux is,
    summed over the levels, the L1 distance of |z_level| / |z_level|_2 to the one-hot vector of y's node; below a class
    that ends above a level it is |z_level|_1. It is averaged over the images of the batch. The published code averages
    each kind of term over its own images, which is the same where all paths are equally long, and leaves out a level
    where all the batch's images are of the level's first node.

    Classes are ordered by their score, which is not linear in the features. In a flat tree it is |z_k|, and with
    alpha = 0 the loss is the cross-entropy of softmax(|z|). A search tries the range of the published alphas.
    Supervision: the class hierarchy.
    """

    Parameters = HierCOSParameters
    alternative = "Use fixed_etf, which needs none."
    basis: Tensor
    owned: Tensor
    share: Tensor
    coordinate: Tensor
    depth: Tensor
    search_space: ClassVar = {**LARGE_STEPS, "method.alpha": LogUniform(1e-5, 0.1)}
    published: ClassVar[Mapping[str, Published]] = {
        "cifar100": Published(
            source=f"{_SOURCE}, cifar-100",
            parameters={"alpha": 0.05, "head_lr_scale": 0.1},
            recipe={**RECIPE, "augmentation": "crop_flip"},
            backbone="wide_resnet",
        ),
        "fgvc_aircraft": Published(
            source=f"{_SOURCE}, fgvc-aircraft",
            parameters={"alpha": 0.1, "head_lr_scale": 1.0},
            recipe={**RECIPE, "augmentation": "crop_flip"},
            backbone="resnet50:weights=imagenet",
        ),
        "inaturalist": Published(
            source=f"{_SOURCE}, inaturalist19-224",
            parameters={"alpha": 1e-3, "head_lr_scale": 0.1},
            recipe={**RECIPE, "batch_size": 256, "augmentation": "resized_crop_flip"},
            backbone="resnet50:weights=imagenet",
        ),
        "tiered_imagenet_h": Published(
            source=f"{_SOURCE}, tiered-imagenet-224",
            parameters={"alpha": 1e-5, "head_lr_scale": 0.1},
            recipe={**RECIPE, "batch_size": 256, "augmentation": "resized_crop_flip"},
        ),
    }

    def build(self) -> None:
        """Create the backbone, the head, the frozen basis, and what the loss needs of the hierarchy."""
        tree = self.task.hierarchy
        levels, width = Levels(tree).ancestor[1:], tree.num_nodes - 1
        self.build_head(width)
        drawn = torch.randn(width, width, dtype=torch.float64, generator=self.task.generator("basis"))
        rotation, triangle = torch.linalg.qr(drawn)
        self.register_buffer("basis", (rotation * triangle.diagonal().sign()).float())  # (n, n) Q

        depth = torch.arange(1, len(levels) + 1)[:, None]  # (L, 1)
        length = torch.tensor(tree.depths[: tree.num_classes])  # (K,) D
        owned = depth <= length  # (L, K): the path goes down to that level
        share = torch.where(owned, torch.exp(2 / (length - depth + 1).clamp_min(1)), 0.0)
        self.register_buffer("owned", owned, persistent=False)
        self.register_buffer("share", share / share.sum(dim=0), persistent=False)  # (L, K) q of the path's nodes
        self.register_buffer("coordinate", levels - (levels > tree.root).long(), persistent=False)  # (L, K)
        depths = torch.tensor(tree.depths)
        self.register_buffer("depth", depths[torch.arange(tree.num_nodes) != tree.root], persistent=False)  # (n,)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the divergence and the weighted auxiliary loss."""
        h = self.features(batch.images)
        with torch.autocast(h.device.type, enabled=False):
            size = F.linear(h.to(self.basis), self.basis).abs()  # (N, n) |z|
        path, owned = self.coordinate[:, batch.target].T, self.owned[:, batch.target].T  # (N, L)
        label = torch.zeros_like(size).scatter_add(1, path, self.share[:, batch.target].T.to(size))  # (N, n) q
        on_path = label > 0
        auxiliary = torch.zeros_like(size[:, 0])
        for level, has_node in enumerate(owned.T, start=1):
            at_level, wanted = size[:, self.depth == level], on_path[:, self.depth == level]
            distance = (F.normalize(at_level, dim=1) - wanted.to(size)).abs().sum(dim=1)
            auxiliary = auxiliary + torch.where(has_node, distance, at_level.sum(dim=1))
        return {
            "divergence": F.kl_div(F.log_softmax(size, dim=1), label, reduction="batchmean"),
            "auxiliary": self.params.alpha * auxiliary.mean(),
        }

    def classify(self, features: Tensor) -> Tensor:
        """Return the norm of z = Q h on each class's path: (N, n) -> (N, K)."""
        squared = F.linear(features, self.basis).square()  # (N, n)
        scores = torch.zeros_like(squared[:, : self.task.num_classes])
        for coordinate, owned in zip(self.coordinate, self.owned, strict=True):
            scores = scores + squared[:, coordinate] * owned
        return scores.sqrt()

    def classifier_parameters(self) -> None:
        """Return None: the scores are not linear in the features."""
        return
