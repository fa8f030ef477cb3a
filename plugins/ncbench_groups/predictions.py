"""What a reference model predicts."""

from __future__ import annotations

from torch import Tensor

from ncbench import Groups, SplitView
from ncbench_groups.reference import Reference


class Predictions(Reference):
    """The group of an image is the class that the reference model predicts, right or wrong.

    Where the model goes by the bias attribute, so do the groups: an image that it gets right is aligned, and one that
    it gets wrong has the attribute of the class that it is taken for. These are the groups of correct-n-contrast (Zhang
    et al., ICML 2022, stage 1), whose reference model is an erm with a strong weight decay: add
    `--set base.recipe.weight_decay=...`.

    Supervision: none.
    """

    def infer(self, train: SplitView, val: SplitView | None) -> Groups:
        """Return the predictions."""
        return Groups(self.predictions(train), self.task.num_classes, self.annotated(val, self.predictions))

    def predictions(self, view: SplitView) -> Tensor:
        """Return the class that each image of a split is taken for: (N,) int64."""
        return self.logits_of(view).argmax(dim=1)
