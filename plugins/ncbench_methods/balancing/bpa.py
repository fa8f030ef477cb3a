"""BPA: clusters weigh by how rare they are and by how badly they do, with a memory for each image."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from ncbench import Batch, Method, Parameters, SplitView, Stage
from ncbench_methods.balancing.cells import cell_counts, cell_of


class BPAParameters(Parameters):
    """Parameters of :class:`BPA`."""

    momentum: float = Field(0.3, gt=0, le=1, description="share of the new weight in an image's running mean")
    every: int = Field(10, ge=1, description="steps from one computation of the groups' mean losses to the next")


class BPA(Method):
    """Minimise the mean of v_i l_i, where v_i follows N / n_c times the mean loss of the image's group c.

    Seo et al. (CVPR 2022), who take for groups the clusters of each class in the features of an erm: that is
    `--groups clusters:k=8,metric=cosine`. (The published code's k-means assigns images to centres by the cosine; here
    it is the k-means of unit features, whose centres are shorter where a cluster is wide.) As in the published code the
    mean loss of a group is that of its images' latest losses, computed every ten steps, and counts once every image has
    one. The weights of a batch, and again the running means v_i that they enter with `momentum`, are scaled to mean 1.
    (In that code the mean has no memory, since an image's new weight is stored in the place of its old one before the
    two are averaged: that is momentum = 1 here, but that its default multiplies the weight w by exp(0.05 w) besides.)
    Where all groups have the same loss the weights are inverse frequencies.

    Published for celeba, besides k = 8: a ResNet-18 with ImageNet weights, and a learning rate of 1e-4.

    Supervision: the bias attribute of training images; with inferred groups, that of the inference.
    """

    Parameters = BPAParameters
    consumes_groups = True
    alternative = "Add --groups clusters:k=8,metric=cosine, which clusters by direction as the paper does."
    rarity: Tensor
    group: Tensor
    latest: Tensor
    weight: Tensor
    group_loss: Tensor

    def build(self) -> None:
        """Create the network, and what is kept of the images and the groups."""
        super().build()
        counts = cell_counts(self.task, "group")
        self.register_buffer("rarity", self.task.num_train / counts.clamp_min(1))  # (K * B,) N / n_c
        self.register_buffer("group_loss", torch.ones_like(self.rarity))  # (K * B,)
        self.register_buffer("group", torch.zeros(self.task.num_train, dtype=torch.int64))  # (N,)
        self.register_buffer("latest", torch.full((self.task.num_train,), -1.0))  # (N,) losses; -1 before the first
        self.register_buffer("weight", torch.ones(self.task.num_train))  # (N,) v

    def start_stage(self, stage: Stage, train: SplitView, val: SplitView | None) -> None:
        """Note the group of every image."""
        self.group.copy_(cell_of(train, self.task, "group"))

    def loss(self, batch: Batch) -> Tensor:
        """Return the weighted mean of the losses, having updated the images' weights and latest losses."""
        losses = F.cross_entropy(self(batch.images), batch.target, reduction="none").to(self.latest)
        with torch.no_grad():
            if self.progress.step % self.params.every == 0:
                self._update_groups()
            group = self.group[batch.index]
            new = _scaled(self.rarity[group] * self.group_loss[group])
            old = self.weight[batch.index]
            weight = _scaled((1 - self.params.momentum) * old + self.params.momentum * new)
            self.weight[batch.index] = weight
            self.latest[batch.index] = losses
        return (weight * losses).mean()

    def _update_groups(self) -> None:
        total, number = torch.zeros_like(self.group_loss), torch.zeros_like(self.group_loss)
        total.index_add_(0, self.group, self.latest)
        number.index_add_(0, self.group, torch.ones_like(self.latest))
        known = (self.latest >= 0).all()
        self.group_loss = torch.where(known, total / number.clamp_min(1), self.group_loss)


def _scaled(weight: Tensor) -> Tensor:
    """Return weights scaled to mean 1, or as they are where all are 0."""
    mean = weight.mean()
    return weight / torch.where(mean > 0, mean, 1.0)
