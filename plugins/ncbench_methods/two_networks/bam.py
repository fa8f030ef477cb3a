"""Bias amplification: a variable of each image's own absorbs its error, so that the network learns what is common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from ncbench import Batch, Published, SplitView, Stage
from ncbench_methods.balancing.jtt import JTT, JTTParameters
from ncbench_methods.published_recipes import RESNET50


class BAMParameters(JTTParameters):
    """Parameters of :class:`BAM`, called T, mu and lambda in the paper."""

    identify_epochs: int = Field(20, ge=1, description="epochs T of the stage that amplifies the bias")
    upweight: int = Field(140, ge=1, description="times mu an image of the error set is seen each epoch")
    auxiliary: float = Field(50.0, ge=0, description="factor lambda of the images' own variables")
    identify_weight_decay: float = Field(0.0, ge=0, description="weight decay of the stage that amplifies the bias")


class BAM(JTT):
    """As jtt, but hard images are given up on at first, and the second stage goes on (Li et al., TMLR 2024).

    The first stage minimises |f(x_i) + lambda b_i - onehot(y_i)|^2, summed over the classes, where b_i in R^K is free
    for every training image and zero at first: what f does not learn quickly, b_i learns in its place. The error set is
    what f alone gets wrong, in evaluation mode. The second stage goes on *with the same network* by cross-entropy, and
    an epoch of it visits the error set `upweight` times. With `auxiliary=0` it is jtt with a squared loss and without a
    restart.

    The paper stops by the smallest mean difference of class accuracies on validation images, without group labels. The
    optimizer acts on all b_i at every step, by its momentum too, as in the published code.

    Published settings are those of waterbirds. A search tries values of mu among those of the published code, and of
    lambda its default, 0.5, its value for waterbirds, 50, and one between them.
    Supervision: none.
    """

    Parameters = BAMParameters
    published: ClassVar[Mapping[str, Published]] = {
        "waterbirds": Published(
            source="Li et al. (TMLR 2024), the published code's README; batch, lr and decay of its run_metaScript.py",
            parameters={"identify_epochs": 20, "upweight": 140, "auxiliary": 50.0, "identify_weight_decay": 0.0},
            recipe={**RESNET50, "epochs": 150, "batch_size": 64, "lr": 1e-5, "weight_decay": 1.0},
            backbone="resnet50:weights=imagenet",
        ),
    }
    search_space: ClassVar = {
        **JTT.search_space,
        "method.upweight": (20, 50, 100, 140, 200),
        "method.auxiliary": (0.5, 5.0, 50.0),
    }

    def build(self) -> None:
        """Create the network, how often an epoch visits each training image, and its own variable."""
        super().build()
        self.own = nn.Parameter(torch.zeros(self.task.num_train, self.task.num_classes))  # (N, K) b

    def start_stage(self, stage: Stage, train: SplitView, val: SplitView | None) -> None:
        """Before the second stage, find the error set."""
        if stage.name == "train":
            self.visits = torch.where(self.errors(train), self.params.upweight, 1)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return the network's parameters, and the images' variables while the bias is amplified."""
        network = [*self.backbone.parameters(), *self.classifier.parameters()]
        if self.progress.stage != "identify":
            return [{"params": network}]
        return [{"params": [*network, self.own], "weight_decay": self.params.identify_weight_decay}]

    def loss(self, batch: Batch) -> Tensor:
        """Return the mean squared error with the images' variables, and the mean cross-entropy afterwards."""
        logits = self(batch.images)
        if self.progress.stage != "identify":
            return F.cross_entropy(logits, batch.target)
        shifted = logits.to(self.own.dtype) + self.params.auxiliary * self.own[batch.index]
        return (shifted - F.one_hot(batch.target, self.task.num_classes)).square().sum(dim=1).mean()
