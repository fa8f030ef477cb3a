"""Empirical risk minimisation: the baseline every other method is compared with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from ncbench import Batch, Method, Parameters, Published
from ncbench_methods.published_recipes import RESNET50, WANG_COLORED_MNIST, WANG_CORRUPTED_CIFAR10
from ncbench_methods.search_spaces import LARGE_STEPS


class ERMParameters(Parameters):
    """Parameters of :class:`ERM`."""

    classifier_bias: bool = Field(True, description="whether the logits are W h + b, or W h as theory has them")


class ERM(Method):
    """Cross-entropy on a linear classifier (Vapnik, 1992).

    Published settings: `colored_mnist` and `corrupted_cifar10` (its type 0) are the vanilla baseline of Wang et al.
    (CVPR 2024), trained as their method is; `waterbirds` and `celeba` are the ERM baselines of Sagawa et al. (ICLR
    2020, appendix C). On `ufm` it is the model of Fang et al. (PNAS 2021), which has no bias.
    """

    Parameters = ERMParameters
    search_space: ClassVar = LARGE_STEPS
    published: ClassVar[Mapping[str, Published]] = {
        "colored_mnist": Published(
            source="the vanilla baseline of Wang et al. (CVPR 2024), section 5.1, trained as ETF-Debias is",
            recipe=WANG_COLORED_MNIST,
        ),
        "corrupted_cifar10": Published(
            source="the vanilla baseline of Wang et al. (CVPR 2024), trained as ETF-Debias is in the published code",
            recipe=WANG_CORRUPTED_CIFAR10,
            backbone="resnet20:classifier=he",
        ),
        "waterbirds": Published(
            source="Sagawa et al. (ICLR 2020), section 3.1 and appendix C.2, standard regularisation",
            recipe={**RESNET50, "epochs": 300, "batch_size": 128, "lr": 1e-3, "weight_decay": 1e-4},
            backbone="resnet50:weights=imagenet",
        ),
        "celeba": Published(
            source="Sagawa et al. (ICLR 2020), section 3.1 and appendix C.2, standard regularisation",
            recipe={**RESNET50, "epochs": 50, "batch_size": 128, "lr": 1e-4, "weight_decay": 1e-4},
            backbone="resnet50:weights=imagenet",
        ),
        "ufm": Published(
            source="Fang et al. (PNAS 2021): the layer-peeled model has a classifier without bias",
            parameters={"classifier_bias": False},
        ),
    }

    def build(self) -> None:
        """Create the backbone and the classifier."""
        super().build()
        if not self.params.classifier_bias:
            self.classifier = nn.Linear(self.backbone.feature_dim, self.task.num_classes, bias=False)
            self.backbone.init_classifier(self.classifier)

    def loss(self, batch: Batch) -> Tensor:
        """Return the mean cross-entropy."""
        return F.cross_entropy(self(batch.images), batch.target)
