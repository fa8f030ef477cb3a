"""The unconstrained features model: a free feature vector for each sample."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from ncbench import Backbone, ConfigurationError, Parameters

_MOST_DIGITS = 20  # of a sample's number; the dataset has at most 10^6 samples


class UFMParameters(Parameters):
    """Parameters of :class:`UFM`."""

    dim: int = Field(32, ge=1, description="dimension of the features; the theory wants no fewer than classes")


class UFM(Backbone):
    """No network at all: the feature vector of each sample is a parameter (Mixon, Parshall & Pi 2020).

    It stands for a network that can give every training sample any feature it likes. An input is a sample's number in
    binary (see the dataset `ufm`), the highest digit first. Vectors start out Gaussian, of expected squared length 1.
    The table has a row for each number of so many digits; rows that no sample has take no part in any loss, and weight
    decay alone moves them, to 0.

    Raises:
        ConfigurationError: The inputs are no numbers.
    """

    Parameters = UFMParameters
    takes_vectors = True
    place: Tensor

    def __init__(self, input_shape: tuple[int, ...], params: UFMParameters) -> None:
        super().__init__(input_shape, params)
        digits = input_shape[0]
        if len(input_shape) != 1 or digits > _MOST_DIGITS:
            raise ConfigurationError(
                "ufm has no network to see anything with: it looks a feature vector up by a sample's number, and "
                f"inputs of {' x '.join(map(str, input_shape))} values are no numbers. Use --dataset ufm, or another "
                "backbone."
            )
        self.feature_dim = params.dim
        self.table = nn.Parameter(torch.randn(2**digits, params.dim) / params.dim**0.5)
        self.register_buffer("place", 2 ** torch.arange(digits).flip(0), persistent=False)  # (D,) value of each digit

    def forward(self, digits: Tensor) -> Tensor:
        """Return the samples' vectors: (N, D) -> (N, dim)."""
        numbers = ((digits > 0) * self.place).sum(1)  # (N,) int64
        return F.embedding(numbers, self.table)
