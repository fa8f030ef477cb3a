"""A fully connected network on the flattened image, or on a feature vector."""

from __future__ import annotations

from itertools import pairwise
from math import prod

from pydantic import Field
from torch import Tensor, nn

from ncbench import Backbone, Parameters


class MLPParameters(Parameters):
    """Parameters of :class:`MLP`."""

    hidden: int = Field(100, ge=1, description="width of every hidden layer, and of the features")
    depth: int = Field(3, ge=1, description="number of hidden layers")


class MLP(Backbone):
    """Flatten, then [Linear, ReLU] `depth` times; the features are those after the last ReLU.

    The defaults are the published Colored MNIST network (Nam et al., NeurIPS 2020: three hidden layers of 100 units);
    the classifier on top is the method's. Images of any size and any number of channels, and vectors of any length.
    """

    Parameters = MLPParameters
    takes_vectors = True

    def __init__(self, input_shape: tuple[int, ...], params: MLPParameters) -> None:
        super().__init__(input_shape, params)
        widths = [prod(input_shape), *[params.hidden] * params.depth]
        self.layers = nn.Sequential(nn.Flatten())
        for inputs, outputs in pairwise(widths):
            self.layers.append(nn.Linear(inputs, outputs))
            self.layers.append(nn.ReLU())
        self.feature_dim = params.hidden

    def forward(self, images: Tensor) -> Tensor:
        """Return the features: (N, C, H, W) or (N, D) -> (N, hidden)."""
        features: Tensor = self.layers(images)
        return features
