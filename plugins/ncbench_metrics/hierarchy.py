"""How bad mistakes are, measured in the class hierarchy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from ncbench import Evaluation, Metric

if TYPE_CHECKING:
    from ncbench.geometry import Hierarchy

TOP = (1, 5, 20)
"""The k of hierarchical distance at k, as in Bertinetto et al. (CVPR 2020), and of HOPS at k."""
DEEPEST = 20
"""Levels reported at most, counted from below the root."""
_ENTRIES = 2**22  # of the largest temporary: images are taken in runs so that 10,000 classes need no more memory


class HierarchyMetrics(Metric):
    """Measures of the predictions by the height D of the lowest common ancestor (LCA) of two classes.

    - `mistake_severity`: mean D(predicted, y) over the images whose prediction is wrong (Bertinetto et al., CVPR 2020,
      section 4). Left out where none is wrong.
    - `hierarchical_distance_at_k`, k = 1, 5, 20: mean over all images of the mean D to y of the k largest logits'
      classes, of equal ones the first, as the prediction is. Left out where there are fewer than k classes.
    - `level_d_accuracy`: share of the images whose predicted and true class share the ancestor d edges below the root.
      A class that ends above that depth stands for itself there; the deepest level is the accuracy.
    - `crm_accuracy`, `crm_mistake_severity`: the same measures after conditional risk minimisation (Karthik et al.,
      ICLR 2021), which predicts the class of least expected height, argmin_c sum_j p_j D(c, j) with p the softmax.

    - `hops`: the mean of the hierarchically ordered preference score (Sani and Anand, CVPR 2026), 1 where no class is
      put before one that is nearer to y, 0 at worst; see :class:`Preferences`. `hops_at_k`, k = 5, 20: of the k
      largest logits' classes alone.

    All images count, whatever the batch size. All are left out where there is no hierarchy, on a split without images
    and where a logit is not finite, and on the training split, whose logits would not fit into memory for thousands of
    classes.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"logits"})
    splits: ClassVar[tuple[str, ...]] = ("val", "test")

    def compute(self, evaluation: Evaluation) -> Mapping[str, float]:
        """Return the family's metrics."""
        logits, target, predicted = evaluation.logits, evaluation.target, evaluation.predicted
        if evaluation.hierarchy is None or logits is None or len(target) == 0 or not torch.isfinite(logits).all():
            return {}
        tree = Tree.of(evaluation.hierarchy, logits.device)
        distance = tree.lca_heights(predicted, target)  # (N,)
        metrics = {f"hierarchical_distance_at_{k}": 0.0 for k in TOP if k <= evaluation.num_classes}
        metrics["hierarchical_distance_at_1"] = distance.mean().item()
        metrics |= _severity("mistake_severity", distance, predicted != target)
        for depth, of_class in enumerate(tree.levels[1 : DEEPEST + 1], start=1):
            metrics[f"level_{depth}_accuracy"] = (of_class[predicted] == of_class[target]).double().mean().item()

        places = [k for k in TOP if 1 < k <= evaluation.num_classes]
        scores = {"hops": evaluation.num_classes, **{f"hops_at_{k}": k for k in places}}
        metrics |= dict.fromkeys(scores, 0.0)
        rows = max(1, _ENTRIES // len(tree.parents))
        reranked = []
        for start in range(0, len(target), rows):
            chunk, labels = logits[start : start + rows], target[start : start + rows]
            reranked.append(tree.least_expected_height(chunk.double().softmax(dim=1)))
            seen, which = labels.unique(return_inverse=True)
            from_seen = tree.lca_heights(torch.arange(evaluation.num_classes, device=labels.device), seen[:, None])
            order = top_classes(chunk, evaluation.num_classes)  # (rows, K)
            for k in places:
                of_top = from_seen[which[:, None], order[:, :k]]  # (rows, k)
                metrics[f"hierarchical_distance_at_{k}"] += of_top.mean(dim=1).sum().item() / len(target)
            preferences = Preferences.of(from_seen)
            for name, k in scores.items():
                metrics[name] += preferences.scores(which, order, k).sum().item() / len(target)
        choice = torch.cat(reranked)  # (N,)
        metrics["crm_accuracy"] = (choice == target).double().mean().item()
        return metrics | _severity("crm_mistake_severity", tree.lca_heights(choice, target), choice != target)


def top_classes(logits: Tensor, k: int) -> Tensor:
    """Return the classes of the k largest logits, the largest first and of equal ones the lowest class first.

    So ``argmax`` decides, which makes the prediction: it is always the first of them.

    Args:
        logits: (N, K) without NaN.
        k: 1 to K.

    Returns:
        (N, k) int64.
    """
    # topk takes any of equal logits, so rows in which the k + 1 largest are not all different are sorted as a whole.
    values, top = logits.topk(min(k + 1, logits.shape[1]), dim=1)
    tied = (values[:, 1:] == values[:, :-1]).any(dim=1)
    top[tied] = logits[tied].argsort(dim=1, descending=True, stable=True)[:, : top.shape[1]]
    return top[:, :k]


@dataclass(frozen=True, eq=False)
class Preferences:
    """The best order of all classes for each of U targets, to which predicted orders are compared.

    Args:
        rank_of: (U, K) int64, for each class the rank of its distance to the target among all such distances, 0 for the
            target itself.
        best: (U, K) int64, the same in the best order, r*.
        weight: (U, K) float64, of each place: 2^-r* at the first place of each rank, falling linearly over its places
            to the next rank's, or to 0 after the last.
    """

    rank_of: Tensor
    best: Tensor
    weight: Tensor

    @classmethod
    def of(cls, distances: Tensor) -> Preferences:
        """Return those of the distances (U, K) float64 of each class to each target."""
        ordered = distances.sort(dim=1).values
        best = torch.zeros_like(ordered, dtype=torch.int64)
        best[:, 1:] = (ordered[:, 1:] > ordered[:, :-1]).cumsum(dim=1)
        first, end = (torch.searchsorted(best, best, right=right) for right in (False, True))  # places of its rank
        start = torch.exp2(-best.to(ordered))
        after = torch.where(end < best.shape[1], start / 2, 0.0)
        share = (torch.arange(best.shape[1], device=best.device) - first) / (end - first)
        return cls(best.gather(1, torch.searchsorted(ordered, distances)), best, start + (after - start) * share)

    def scores(self, which: Tensor, order: Tensor, k: int) -> Tensor:
        """Return the hierarchically ordered preference score at k of each image (Sani and Anand, CVPR 2026).

        With r_j the rank of the j-th predicted class, it is 1 less

            sum_{j <= k} w_j |r*_j - r_j| / sum_{j <= k} w_j |r*_j - r*_{k + 1 - j}|,

        but at least 0: how far the first k places are from the best, relative to those of the best order reversed.

        Args:
            which: (N,) int64, the one of the U targets that is each image's.
            order: (N, K) int64, the classes in their predicted order.
            k: 1 to K.

        Returns:
            (N,) float64; 1 where the first k places of the best order are of one rank.
        """
        best, weight = self.best[:, :k], self.weight[:, :k]
        worst = (weight * (best - best.flip(1)).abs()).sum(dim=1)  # (U,)
        excess = (best[which] - self.rank_of[which[:, None], order[:, :k]]).abs()  # (N, k)
        share = (weight[which] * excess).sum(dim=1) / torch.where(worst > 0, worst, 1.0)[which]
        return (1 - share).clamp(0, 1)


def _severity(name: str, distance: Tensor, wrong: Tensor) -> dict[str, float]:
    """Return the mean distance of the wrong predictions under `name`, or nothing where none is wrong."""
    return {name: distance[wrong].mean().item()} if bool(wrong.any()) else {}


@dataclass(frozen=True, eq=False)
class Tree:
    """A hierarchy as tensors. The first K nodes are its leaves, in class order.

    Args:
        parents: (nodes,) int64, -1 for the root.
        heights: (nodes,) float64.
        by_depth: The nodes of each depth, from the root's.
        levels: For each depth, (K,) int64: the ancestor of each class at that depth, or the class itself where it
            ends above.
    """

    parents: Tensor
    heights: Tensor
    by_depth: tuple[Tensor, ...]
    levels: tuple[Tensor, ...]

    @classmethod
    def of(cls, hierarchy: Hierarchy, device: torch.device) -> Tree:
        """Return the tree on a device."""
        depths = torch.tensor(hierarchy.depths)
        deepest = int(depths.max())
        return cls(
            parents=torch.tensor(hierarchy.parents, device=device),
            heights=torch.tensor(hierarchy.heights, dtype=torch.float64, device=device),
            by_depth=tuple((depths == depth).nonzero()[:, 0].to(device) for depth in range(deepest + 1)),
            levels=tuple(hierarchy.level(depth).to(device) for depth in range(deepest + 1)),
        )

    def lca_heights(self, first: Tensor, second: Tensor) -> Tensor:
        """Return the LCA heights of pairs of classes, level by level and without a K x K matrix.

        Args:
            first: int64 classes.
            second: int64 classes, of a shape that broadcasts.

        Returns:
            float64, of the shape they broadcast to.
        """
        height = torch.full_like(first - second, float(self.heights.max()), dtype=torch.float64)
        for of_class in self.levels[1:]:  # two classes that have parted never meet again further down
            node = of_class[first]
            height = torch.where(node == of_class[second], self.heights[node], height)
        return height

    def least_expected_height(self, p: Tensor) -> Tensor:
        """Return argmin_c sum_j p_j D(c, j), in O(nodes) an image.

        With P_v the probability below node v, the sum telescopes along the path from c to the root:

            sum_j p_j D(c, j) = h(root) - sum_v (h(parent of v) - h(v)) P_v,   v from c to just below the root.

        One pass up the tree gives P, one pass down the sums.

        Args:
            p: (N, K) float64, rows that add to 1.

        Returns:
            (N,) int64, the first of several that are equal.
        """
        num_classes = p.shape[1]
        saved = p.new_zeros(len(self.parents), len(p))  # (nodes, N): P, and then what it saves of h(root)
        saved[:num_classes] = p.T
        for nodes in reversed(self.by_depth[1:]):
            saved.index_add_(0, self.parents[nodes], saved[nodes])
        saved[self.by_depth[0]] = 0
        for nodes in self.by_depth[1:]:
            above = self.parents[nodes]
            step = (self.heights[above] - self.heights[nodes])[:, None]
            saved[nodes] = saved[above] + step * saved[nodes]
        saved = saved[:num_classes]
        # Equal sums differ in their last bits where they were added in another order.
        nearly = saved.amax(dim=0) - 1e-12 * self.heights.max()
        return (saved >= nearly).byte().argmax(dim=0)
