"""Domain-independent training: a classifier for each value of the bias attribute, and their average at test time."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ncbench import Batch, Method


class DomainIndependent(Method):
    """Train head_b on the images with attribute b, on shared features; predict by the heads' mean (Wang et al., 2020).

    The loss is CE(W_b h + c_b, y). At test time the attribute is not asked for: the logits are the heads' mean, which
    has the order of the paper's sum (section 4.3) and is one linear classifier. The heads of values without training
    images stay out of it, as they are never trained. A head sees no images but those of its value, and knows little of
    a class that these hardly have: where the attribute all but determines the class, each head has seen hardly any
    class but its own, and their mean may be near chance.

    Supervision: the bias attribute of training images.
    """

    consumes_groups = True
    alternative = "Use a method that needs none: lff or jtt."
    share: Tensor

    def build(self) -> None:
        """Create the backbone and a head for each value of the attribute."""
        self.backbone = self.make_backbone()
        d, number = self.backbone.feature_dim, self.task.num_bias
        heads = [nn.Linear(d, self.task.num_classes) for _ in range(number)]
        for head in heads:
            self.backbone.init_classifier(head)
        self.heads = nn.ModuleList(heads)
        trained = self.task.group_counts.sum(dim=0) > 0
        self.register_buffer("share", trained / trained.sum())  # (B,), of each head in the mean

    def loss(self, batch: Batch) -> Tensor:
        """Return the mean cross-entropy of each image's own head."""
        features = self.features(batch.images)
        logits = torch.stack([head(features) for head in self.heads])  # (B, N, K)
        return F.cross_entropy(logits[batch.bias, torch.arange(len(batch), device=logits.device)], batch.target)

    def classify(self, features: Tensor) -> Tensor:
        """Return the heads' mean logits: (N, d) -> (N, K)."""
        return F.linear(features, *self.classifier_parameters())

    def classifier_parameters(self) -> tuple[Tensor, Tensor]:
        """Return the mean of the heads' weights (K, d) and biases (K,)."""
        weight, bias = (torch.stack([getattr(head, name) for head in self.heads]) for name in ("weight", "bias"))
        return (self.share[:, None, None] * weight).sum(dim=0), (self.share[:, None] * bias).sum(dim=0)
