"""A network that learns the bias attribute first, and then, frozen, shows the method what to do without."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from ncbench import Batch, Method, Parameters, Stage


class AttributeNetworkParameters(Parameters):
    """Parameters of every method beside a network of the bias attribute."""

    attribute_epochs: int = Field(5, ge=1, description="epochs of the network that learns the bias attribute first")


class BesideAttributeNetwork(Method):
    """A method whose first stage trains a second network of its architecture on the bias attribute.

    That network is then frozen, and in evaluation mode. The sources train it elsewhere, for a time that they don't
    state: five epochs are this project's choice.
    """

    consumes_groups = True
    alternative = "Use a method that needs none: lff or jtt."

    def build(self) -> None:
        """Create both networks."""
        super().build()
        self.attribute_backbone = self.make_backbone()
        self.attribute_classifier = nn.Linear(self.attribute_backbone.feature_dim, self.task.num_bias)
        self.attribute_backbone.init_classifier(self.attribute_classifier)

    def stages(self, epochs: int) -> Sequence[Stage]:
        """Return the training of the network of the attribute, and that of the method."""
        return [Stage("attribute", self.params.attribute_epochs), Stage("train", epochs)]

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return the parameters that the stage trains."""
        of_attribute = [*self.attribute_backbone.parameters(), *self.attribute_classifier.parameters()]
        own = [*self.backbone.parameters(), *self.classifier.parameters()]
        return [{"params": of_attribute if self.progress.stage == "attribute" else own}]

    def train(self, mode: bool = True) -> Self:
        """Set the mode of everything but the frozen network, whose BatchNorm would go on to change."""
        super().train(mode)
        if self.progress.stage != "attribute":
            self.attribute_backbone.eval()
        return self

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the cross-entropy of the attribute in the first stage, and the method's loss in the second."""
        if self.progress.stage == "attribute":
            logits = self.attribute_classifier(self.attribute_backbone(batch.images))
            return {"attribute": F.cross_entropy(logits, batch.bias)}
        with torch.no_grad():
            of_attribute = self.attribute_backbone(batch.images)
        return self.loss_beside(of_attribute, batch)

    def loss_beside(self, of_attribute: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Return the terms of the second stage's loss.

        Args:
            of_attribute: (N, d), the frozen network's features of the batch's images.
            batch: The batch.
        """
        raise NotImplementedError
