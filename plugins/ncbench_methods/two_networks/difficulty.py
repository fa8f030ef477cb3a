"""The relative difficulty of an image: how much harder a biased network finds it than a debiased one."""

from __future__ import annotations

import torch
from torch import Tensor

from ncbench import Batch, Method


class WeighsByDifficulty(Method):
    """A method that keeps two average losses of every training image, and weights images by them.

    The weight of an image is its relative difficulty W = l_B / (l_B + l_D) (Nam et al., NeurIPS 2020, eq. 4), where l_B
    and l_D are the cross-entropies of a biased and of a debiased network. As in the published code, and needed for its
    results:

    - l is an exponential moving average over the epochs, kept for each training image; its first value is the loss
      itself, not a mixture with zero;
    - it is divided by the largest average of its class, over all training images and not over the batch alone;
    - W enters as a constant.

    Its parameters have `ema`, the share of the old value in the moving average.
    """

    average_biased: Tensor
    average_debiased: Tensor
    visited: Tensor
    target_of: Tensor

    def build(self) -> None:
        """Create the debiased network, and a row of state for every training image."""
        super().build()
        n = self.task.num_train
        self.register_buffer("average_biased", torch.zeros(n))  # (N,) l_B
        self.register_buffer("average_debiased", torch.zeros(n))  # (N,) l_D
        self.register_buffer("visited", torch.zeros(n, dtype=torch.bool))
        self.register_buffer("target_of", torch.zeros(n, dtype=torch.int64))  # class of each image that was visited

    @torch.no_grad()
    def relative_difficulty(self, biased: Tensor, debiased: Tensor, batch: Batch) -> Tensor:
        """Take note of the batch's cross-entropies, (N,) each, and return the weights W: (N,)."""
        self.target_of[batch.index] = batch.target
        biased = self._normalised_average(self.average_biased, biased, batch)
        debiased = self._normalised_average(self.average_debiased, debiased, batch)
        self.visited[batch.index] = True
        return biased / (biased + debiased + 1e-8)

    def _normalised_average(self, average: Tensor, loss: Tensor, batch: Batch) -> Tensor:
        """Update the averages of the batch's images and return them, each over the largest one of its class: (N,)."""
        old_share = self.params.ema * self.visited[batch.index]
        average[batch.index] = old_share * average[batch.index] + (1 - old_share) * loss.to(average)
        # Images not yet visited have an average of 0, below every loss, so they cannot be their class's largest.
        largest = average.new_zeros(self.task.num_classes).scatter_reduce(0, self.target_of, average, "amax")  # (K,)
        # A class whose every loss has underflowed to 0 is as easy for one network as for the other: 0, not 0 / 0.
        return average[batch.index] / largest[batch.target].clamp_min(torch.finfo(average.dtype).tiny)
