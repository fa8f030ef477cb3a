"""LISA: mixing across the bias attribute within a class, or across classes within a value of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from ncbench import Batch, ConfigurationError, LogUniform, Method, Parameters, Published, SplitView, Uniform
from ncbench_methods.augmentation.mixing import cut_mix, draw_partners, draws_of_step, mix, mixed_cross_entropy
from ncbench_methods.balancing.cells import balanced_draws
from ncbench_methods.published_recipes import RESNET50


class LISAParameters(Parameters):
    """Parameters of :class:`LISA`."""

    alpha: float = Field(2.0, gt=0, description="of the distribution Beta(alpha, alpha) of the shares")
    p_sel: float = Field(0.5, ge=0, le=1, description="probability that a batch mixes within classes")
    mix: Literal["mixup", "cutmix"] = Field("mixup", description="how two images are mixed")
    sample: Literal["group", "image"] = Field(
        "group", description="draw groups uniformly, as the published batches are, or visit each image once an epoch"
    )


class LISA(Method):
    """Mix each image with one of its class and another bias value, or of its bias value and another class.

    Selective augmentation (Yao et al., ICML 2022, algorithm 1): with probability `p_sel` a batch is mixed within
    classes, else within bias values; the share of each image is drawn from Beta(alpha, alpha), and the loss is the
    cross-entropy with the labels mixed alike.

    The published code takes four equal groups, so that it works for two classes and two bias values alone. Here a batch
    is drawn with the groups equally likely, and each image's partner is drawn from those in the batch that fit; where
    none does, the image stays as it is. The published batch of 16 is of each of four groups. Its CutMix draws from
    another parameter than its mixup, and one box for a batch; here either draws with `alpha`, and a box for an image.
    A search tries SubpopBench's ranges of alpha and p_sel.

    Supervision: the bias attribute of training images.
    """

    Parameters = LISAParameters
    consumes_groups = True
    search_space: ClassVar = {
        **Method.search_space,
        "method.alpha": LogUniform(0.1, 10.0),
        "method.p_sel": Uniform(0.0, 1.0),
    }
    alternative = "Use mixup, which needs none."
    published: ClassVar[Mapping[str, Published]] = {
        "waterbirds": Published(
            source="Yao et al. (ICML 2022), README of the published code",
            parameters={"mix": "mixup"},
            recipe={**RESNET50, "epochs": 300, "batch_size": 16, "lr": 1e-3, "weight_decay": 1e-4},
            backbone="resnet50:weights=imagenet",
        ),
        "celeba": Published(
            source="Yao et al. (ICML 2022), README of the published code",
            parameters={"mix": "cutmix"},
            recipe={**RESNET50, "epochs": 50, "batch_size": 16, "lr": 1e-4, "weight_decay": 1e-4},
            backbone="resnet50:weights=imagenet",
        ),
    }

    def build(self) -> None:
        """Create the network.

        Raises:
            ConfigurationError: Boxes are to be cut out of vectors.
        """
        if self.params.mix == "cutmix" and len(self.task.input_shape) == 1:
            raise ConfigurationError("mix=cutmix cuts boxes out of images, and these are vectors: use mix=mixup.")
        super().build()

    def order(self, train: SplitView, generator: torch.Generator) -> Tensor:
        """Return N images, drawn with replacement so that each group is equally likely."""
        if self.params.sample == "image":
            return super().order(train, generator)
        return balanced_draws(train, self.task, "group", generator)

    def loss(self, batch: Batch) -> Tensor:
        """Return the mean cross-entropy with mixed labels."""
        draws = draws_of_step(self, "lisa")
        partner = self.partners(batch, draws.random() < self.params.p_sel, draws)
        share = draws.beta(self.params.alpha, self.params.alpha, size=len(batch))
        shares = torch.from_numpy(share).to(batch.images)
        if self.params.mix == "cutmix":
            images, shares = cut_mix(batch.images, partner, shares, draws)
        else:
            images = mix(batch.images, partner, shares)
        return mixed_cross_entropy(self(images), batch.target, partner, shares)

    @staticmethod
    def partners(batch: Batch, within_class: bool, draws: np.random.Generator) -> Tensor:
        """Return the position of each image's partner in the batch, its own where no other fits: (N,) int64."""
        other_class = batch.target[:, None] != batch.target  # (N, N)
        other_bias = batch.bias[:, None] != batch.bias
        fits = ~other_class & other_bias if within_class else other_class & ~other_bias
        return draw_partners(fits, draws)
