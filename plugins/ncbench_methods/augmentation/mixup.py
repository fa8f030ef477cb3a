"""mixup: cross-entropy on convex combinations of random pairs of images."""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from ncbench import Batch, LogUniform, Method, Parameters
from ncbench_methods.augmentation.mixing import draws_of_step, mix, mixed_cross_entropy


class MixupParameters(Parameters):
    """Parameters of :class:`Mixup`."""

    alpha: float = Field(0.2, gt=0, description="of the distribution Beta(alpha, alpha) of the shares")


class Mixup(Method):
    """Minimise the cross-entropy of s x + (1 - s) x' with the label s y + (1 - s) y' (Zhang et al., ICLR 2018).

    x' are the batch's images in a random order, and one s ~ Beta(alpha, alpha) is drawn for the whole batch, as in the
    published code. A search tries 0.1 to 10 for alpha, as SubpopBench does.

    Supervision: none.
    """

    Parameters = MixupParameters
    search_space: ClassVar = {**Method.search_space, "method.alpha": LogUniform(0.1, 10.0)}

    def loss(self, batch: Batch) -> Tensor:
        """Return the mean cross-entropy with mixed labels."""
        draws, device = draws_of_step(self, "mixup"), batch.target.device
        partner = torch.from_numpy(draws.permutation(len(batch))).to(device)
        share = batch.images.new_full((len(batch),), draws.beta(self.params.alpha, self.params.alpha))
        return mixed_cross_entropy(self(mix(batch.images, partner, share)), batch.target, partner, share)
