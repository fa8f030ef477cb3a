"""Clusters of each class in the outputs of a network early in training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field
from torch import Tensor

from ncbench import Published, SplitView
from ncbench_groups.clusters import Clusters, ClustersParameters


class SPAREParameters(ClustersParameters):
    """Parameters of :class:`SPARE`."""

    epochs: int = Field(1, ge=1, description="epochs T of the network whose outputs are clustered")


class SPARE(Clusters):
    """Groups are the clusters that k-means finds among the logits of each class, after the first epochs.

    What is easy to learn parts the outputs of a class before anything else does. Apart from what is clustered and when,
    this is `clusters`. The paper then draws images with weight 1 / n of their cluster, each class equally often, which
    is `resample:equal_classes=true` on these groups; and with 1 / n^2 in a class whose silhouette is below 0.9, which
    is `resample:equal_classes=true,power=2`. The power is one for all classes here, and is not chosen by itself: where
    some are above 0.9 and others are not, no run is the paper's. A run with k = 0 reports the mean silhouette.

    Published settings: `waterbirds` T = 1, 4 clusters, by the SpuCo package, which takes the softmax of the logits in
    that example; the authors' repository is empty. On these groups `resample` has that example's recipe, with the
    power left at 1; its celeba, clustered before any training, is not taken over.

    Supervision: none.
    """

    Parameters = SPAREParameters
    published: ClassVar[Mapping[str, Published]] = {
        "waterbirds": Published(source="the SpuCo package's example", parameters={"epochs": 1, "k": 4})
    }

    published_with: ClassVar[Mapping[str, Mapping[str, Published]]] = {
        "resample": {
            "waterbirds": Published(
                source="the SpuCo package's example",
                parameters={"equal_classes": True},
                recipe={
                    **{"epochs": 100, "batch_size": 128, "lr": 1e-4, "weight_decay": 0.1},
                    **{"optimizer": "sgd", "momentum": 0.9, "schedule": "constant", "input_scaling": "standard"},
                },
            )
        }
    }

    def embedding(self, view: SplitView) -> Tensor:
        """Return the logits: (N, K)."""
        return self.logits_of(view)
