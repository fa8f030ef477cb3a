"""RUBi: what the bias attribute alone says of the class masks the logits while training."""

from __future__ import annotations

from typing import ClassVar

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from ncbench import Batch, LogUniform, Method, Parameters


class RUBiParameters(Parameters):
    """Parameters of :class:`RUBi`."""

    weight: float = Field(1.0, ge=0, description="weight of the attribute branch's own cross-entropy")


class RUBi(Method):
    """Minimise CE(z * sigmoid(t_b), y) + w CE(C t_b + c, y) (Cadene et al., NeurIPS 2019, section 3).

    t_b in R^K is learned for each value of the bias attribute: the branch that sees the bias alone, the question in the
    paper, is here a table, as all that it sees is the value. Its mask makes an image easy that the attribute explains,
    and hard one that it does not. The second term lets the table learn what the attribute says of the class. As z comes
    from the image alone, its gradient does not reach the network. Predictions use z without the mask. w is the
    published code's.

    Supervision: the bias attribute of training images.
    """

    Parameters = RUBiParameters
    consumes_groups = True
    alternative = "Use a method that needs none: lff or jtt."
    search_space: ClassVar = {**Method.search_space, "method.weight": LogUniform(0.1, 10)}

    def build(self) -> None:
        """Create the network and the branch of the attribute."""
        super().build()
        classes = self.task.num_classes
        self.branch = nn.Linear(self.task.num_bias, classes)
        self.branch_classifier = nn.Linear(classes, classes)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the mean cross-entropies of the masked logits and of the branch."""
        table = self.branch(F.one_hot(batch.bias, self.task.num_bias).to(self.branch.weight))  # (N, K)
        return {
            "masked": F.cross_entropy(self(batch.images) * table.sigmoid(), batch.target),
            "branch": self.params.weight * F.cross_entropy(self.branch_classifier(table), batch.target),
        }
