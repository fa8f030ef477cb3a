"""Clusters of each class in the features of a reference model."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from sklearn.cluster import KMeans
from sklearn.metrics import silhouette_score
from torch import Tensor

from ncbench import Groups, SplitView
from ncbench_groups.reference import Reference, ReferenceParameters

STARTS = 10  # of k-means, of which the best is taken
CHOOSING_IMAGES = 2000  # at most, since a silhouette looks at every pair


class ClustersParameters(ReferenceParameters):
    """Parameters of :class:`Clusters`."""

    k: int = Field(0, ge=0, description="clusters of each class; 0 takes the number with the largest silhouette")
    metric: Literal["euclidean", "cosine"] = Field(
        "euclidean", description="distances of the features as they are, or of their directions"
    )
    most: int = Field(10, ge=2, description="the largest number of clusters that is tried where k is 0")


class Clusters(Reference):
    """Groups are the clusters that k-means finds among the features of each class.

    k-means++ from ten starts. Within a class the largest cluster is group 0, the next one group 1, and so on: groups of
    different classes have nothing to do with one another, and a class with fewer clusters than another leaves groups
    empty. Where k is 0 each class has the number of clusters from 2 to `most` with the largest mean silhouette
    (Rousseeuw, 1987), where up to 2,000 of its images are clustered.

    With `metric=cosine` features are scaled to length 1 first, whose squared distances are 2 - 2 cos.

    Nothing depends on the order of the images. Validation images, where asked for, are of the cluster of their class
    whose centre is nearest.

    The record's report has the clusters of all classes and, where they were chosen by it, the mean silhouette.

    Supervision: none.
    """

    Parameters = ClustersParameters

    def infer(self, train: SplitView, val: SplitView | None) -> Groups:
        """Return the clusters."""
        features, target = self._numbers(train)
        group = np.zeros(len(target), dtype=np.int64)
        centres: dict[int, np.ndarray] = {}
        scores = []
        for label in np.unique(target):
            seed = int(torch.randint(2**31, (), generator=self.task.generator(f"clusters {label}")))
            own = features[target == label]
            number, score = (self.params.k, None) if self.params.k else choose_number(own, self.params.most, seed)
            group[target == label], centres[label] = find_clusters(own, number, seed)
            scores += [] if score is None else [score]
        self.report["clusters"] = float(sum(map(len, centres.values())))
        if scores:
            self.report["silhouette"] = float(np.mean(scores))
        annotated = self.annotated(val, lambda view: self._nearest(view, centres))
        return Groups(torch.from_numpy(group), max(map(len, centres.values())), annotated)

    def embedding(self, view: SplitView) -> Tensor:
        """Return what is clustered: (N, d)."""
        return self.features_of(view)

    def _nearest(self, view: SplitView, centres: dict[int, np.ndarray]) -> Tensor:
        features, target = self._numbers(view)
        group = np.zeros(len(target), dtype=np.int64)
        for label, of_class in centres.items():
            own = features[target == label]
            distance = [np.square(own - centre).sum(axis=1) for centre in of_class]
            group[target == label] = np.argmin(distance, axis=0)
        return torch.from_numpy(group)

    def _numbers(self, view: SplitView) -> tuple[np.ndarray, np.ndarray]:
        embedding = self.embedding(view).double()
        if self.params.metric == "cosine":
            embedding = F.normalize(embedding, dim=1)
        return embedding.cpu().numpy(), view.target.cpu().numpy()


def find_clusters(features: np.ndarray, number: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the clusters of some images, the largest first: (n, d) float64 -> (n,) int64 and their centres (k, d).

    Args:
        features: In any order, on which nothing depends.
        number: k; fewer where fewer images differ.
        seed: Of the starts.
    """
    order = np.lexsort(features.T)
    number = min(number, len(np.unique(features, axis=0)))
    found = KMeans(number, n_init=STARTS, random_state=seed).fit(features[order])
    size = np.bincount(found.labels_, minlength=number)
    by_size = np.argsort(-size, kind="stable")
    group = np.empty(len(features), dtype=np.int64)
    group[order] = np.argsort(by_size)[found.labels_]
    return group, found.cluster_centers_[by_size]


def choose_number(features: np.ndarray, most: int, seed: int) -> tuple[int, float | None]:
    """Return the number of clusters from 2 to `most` with the largest mean silhouette, and that.

    One cluster, and None, where there are too few different images to compare. Of many images it looks at some.
    """
    features = features[np.lexsort(features.T)]
    features = features[np.random.default_rng(seed).permutation(len(features))[:CHOOSING_IMAGES]]
    best: tuple[int, float | None] = (1, None)
    for number in range(2, min(most, len(np.unique(features, axis=0)) - 1) + 1):
        group, _ = find_clusters(features, number, seed)
        score = float(silhouette_score(features, group))
        if best[1] is None or score > best[1]:
            best = number, score
    return best
