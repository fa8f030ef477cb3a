"""The error set of a reference model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor

from ncbench import Groups, Published, SplitView
from ncbench_groups.reference import Reference
from ncbench_methods.published_recipes import RESNET50

_SOURCE = "Liu et al. (ICML 2021), appendix A and the published code's README"


class Errors(Reference):
    """Group 1 are the training images that the reference model misclassifies, group 0 those that it gets right.

    These are the two parts of jtt's training set: the reference model is jtt's identification model, scored after its
    last epoch, in evaluation mode, and `epochs` is its T. A model that is trained for long gets every training image
    right, and group 1 is empty then; one that is trained for too short a time gets the hard images of every group
    wrong.

    Published settings: `waterbirds` T = 60 and `celeba` T = 1, which the paper chooses by validation images with group
    labels.

    Supervision: none.
    """

    published: ClassVar[Mapping[str, Published]] = {
        "waterbirds": Published(
            source=_SOURCE,
            parameters={"epochs": 60},
            recipe={**RESNET50, "batch_size": 64, "lr": 1e-5, "weight_decay": 1.0},
            backbone="resnet50:weights=imagenet",
        ),
        "celeba": Published(
            source=_SOURCE,
            parameters={"epochs": 1},
            recipe={**RESNET50, "batch_size": 128, "lr": 1e-5, "weight_decay": 0.1},
            backbone="resnet50:weights=imagenet",
        ),
    }

    def infer(self, train: SplitView, val: SplitView | None) -> Groups:
        """Return the error set and the rest."""
        return Groups(self.errors(train), 2, self.annotated(val, self.errors))

    def errors(self, view: SplitView) -> Tensor:
        """Return 1 for each image of a split that is misclassified, else 0: (N,) int64."""
        return (self.logits_of(view).argmax(dim=1) != view.target).long()
