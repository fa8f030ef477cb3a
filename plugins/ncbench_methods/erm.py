"""Empirical risk minimisation: the baseline every other method is compared with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor

from ncbench import Batch, Method, Published
from ncbench_methods.settings import RESNET50, WANG_COLORED_MNIST


class ERM(Method):
    """Cross-entropy on a linear classifier with bias (Vapnik, 1992).

    Published settings: `colored_mnist` is the vanilla baseline of Wang et al. (CVPR 2024), trained as their method is;
    `waterbirds` and `celeba` are the ERM baselines of Sagawa et al. (ICLR 2020, appendix C).
    """

    published: ClassVar[Mapping[str, Published]] = {
        "colored_mnist": Published(
            source="the vanilla baseline of Wang et al. (CVPR 2024), section 5.1, trained as ETF-Debias is",
            recipe=WANG_COLORED_MNIST,
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
    }

    def loss(self, batch: Batch) -> Tensor:
        """Return the mean cross-entropy."""
        return F.cross_entropy(self(batch.images), batch.target)
