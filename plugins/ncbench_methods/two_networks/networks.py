"""A second network beside the method's own, and how sure a network is of the images' classes."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ncbench import Method
from ncbench_methods.precision import at_least_float32


def make_network(method: Method, spec: str | None = None) -> nn.Sequential:
    """Return a new backbone with a linear classifier on top: (N, C, H, W) -> (N, K) logits.

    Args:
        method: For which.
        spec: Of the backbone; None for the run's.
    """
    backbone = method.make_backbone(spec)
    classifier = nn.Linear(backbone.feature_dim, method.task.num_classes)
    backbone.init_classifier(classifier)
    return nn.Sequential(backbone, classifier)


def depth(network: nn.Module) -> int:
    """Return how many layers a network has: its weights that are matrices, kernels of convolutions among them."""
    return sum(parameter.dim() > 1 for parameter in network.parameters())


@torch.no_grad()
def probability_of_target(logits: Tensor, target: Tensor, temperature: float = 1.0) -> Tensor:
    """Return p_y of each image, constant: logits (N, K) and target (N,) int64 -> (N,), never in half precision."""
    return (at_least_float32(logits) / temperature).softmax(dim=1).gather(1, target[:, None]).squeeze(1)
