"""Conditional risk minimisation: predict the class that is expected to be nearest, not the likeliest one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor

from ncbench import Method, Parameters, Stage
from ncbench_methods.hierarchy.levels import Levels


class CRM(Method):
    """Take a finished erm and order its classes by their expected distance (Karthik et al., ICLR 2021, section 3).

    With p the erm's softmax and D(k, j) the height of the lowest common ancestor of two classes, the logit of class k
    is -sum_j p_j D(k, j), here without the constant -D_max. Nothing is trained or fitted, and all images of a split are
    treated alike; in a flat tree the prediction is erm's. The sum telescopes along the path from the root to k:

        D_max - sum_j p_j D(k, j) = sum_v (height of v's parent - height of v) p(v),    v from below the root to k,

    with p(v) the sum of p over the classes below v, so that no matrix of all pairs of classes is needed. The logits are
    no log-probabilities; calibration measures of them mean little. Supervision: the class hierarchy.
    """

    search_space: ClassVar = {}
    alternative = "Use erm, which needs none."

    @classmethod
    def base(cls, params: Parameters) -> str:
        """Return the method whose predictions are reordered."""
        return "erm"

    def build(self) -> None:
        """Create the network, and the hierarchy as tensors."""
        super().build()
        self.levels = Levels(self.task.hierarchy)

    def stages(self, epochs: int) -> Sequence[Stage]:
        """Return none: nothing is trained."""
        return []

    def start_from(self, base: Method) -> None:
        """Take over the backbone and the classifier."""
        super().start_from(base)
        self.classifier.load_state_dict(base.classifier.state_dict())

    def classify(self, features: Tensor) -> Tensor:
        """Return D_max less the expected distance of each class: (N, d) -> (N, K)."""
        ancestor, height = self.levels.ancestor, self.levels.height
        p = super().classify(features).to(height).softmax(dim=1)
        nearness = p.new_zeros(p.shape)
        for depth in range(1, len(ancestor)):
            below = p.new_zeros(len(p), self.levels.num_nodes).index_add_(1, ancestor[depth], p)  # (N, nodes) p(v)
            nearness = nearness + (height[depth - 1] - height[depth]) * below[:, ancestor[depth]]
        return nearness

    def classifier_parameters(self) -> None:
        """Return None: the logits are not linear in the features."""
        return
