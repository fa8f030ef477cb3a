"""A reference model, trained by ERM for a few epochs: what groups are told by."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from ncbench import Batch, GroupInference, Parameters, SplitView, Stage


class ReferenceParameters(Parameters):
    """Parameters of :class:`Reference`."""

    epochs: int = Field(10, ge=1, description="epochs of the reference model")
    val: bool = Field(False, description="also give the groups of the validation images, to choose the epoch by")


class Reference(GroupInference):
    """Infers groups by a model that was trained with cross-entropy for `epochs` epochs of the run's recipe.

    Its first epochs are those of any erm with that recipe, and of jtt's first stage.
    """

    Parameters: type[Parameters] = ReferenceParameters

    @classmethod
    def annotates_val(cls, params: Any) -> bool:
        """Return whether the user asks for the groups of validation images."""
        return bool(params.val)

    def annotated(self, val: SplitView | None, group_of: Callable[[SplitView], Tensor]) -> Tensor | None:
        """Return the groups of the validation images, (N,) int64, if the user asks for them and there are any."""
        return None if val is None or not self.params.val else group_of(val)

    def stages(self, epochs: int) -> Sequence[Stage]:
        """Return the one stage, however many epochs the recipe has."""
        return [Stage("identify", self.params.epochs)]

    def loss(self, batch: Batch) -> Tensor:
        """Return the mean cross-entropy."""
        return F.cross_entropy(self(batch.images), batch.target)

    @torch.no_grad()
    def logits_of(self, view: SplitView) -> Tensor:
        """Return the logits of a split's images, without augmentation: (N, K) float32."""
        return torch.cat([self(batch.images).float() for batch in view.batches()])

    @torch.no_grad()
    def features_of(self, view: SplitView) -> Tensor:
        """Return the features of a split's images, without augmentation: (N, d) float32."""
        return torch.cat([self.features(batch.images).float() for batch in view.batches()])
