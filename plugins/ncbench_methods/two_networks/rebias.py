"""ReBias: features that are independent of those of a network which can only see the bias."""

from __future__ import annotations

from itertools import pairwise
from typing import ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from ncbench import Batch, ConfigurationError, LogUniform, Method, Parameters
from ncbench_methods.precision import at_least_float32
from ncbench_methods.two_networks.networks import depth, make_network

_ROUNDING = 1e-6  # of a squared distance in float32, relative to the squared lengths
_LEAST = 4  # images that an unbiased estimate needs
_WIDTHS = (16, 32, 64, 128)  # of the 1 x 1 convolutions
_SIDE = 32  # pixels a side that they look at, of larger images


class ReBiasParameters(Parameters):
    """Parameters of :class:`ReBias`."""

    biased: str = Field(
        "",
        description="spec of the network that sees the bias alone; empty for 1 x 1 convolutions, which see one pixel "
        "each, or for vectors an mlp of one hidden layer",
    )
    independence: float = Field(1.0, ge=0, description="weight of HSIC(f, g) in f's loss")
    bias_alignment: float = Field(1.0, ge=0, description="weight of HSIC(f, g) that g's loss rewards")
    sigma: float = Field(
        1.0, ge=0, description="width of the Gaussian kernels; 0 for the median distance of the images of the batch"
    )


class ReBias(Method):
    """A network f is kept independent of one of small receptive field, g, which follows it (Bahng et al., ICML 2020).

    f minimises CE + HSIC(f, g), g minimises CE - HSIC(f, g) (eq. 5, with one g), where HSIC is the unbiased estimate of
    the Hilbert-Schmidt independence criterion of their penultimate features, with Gaussian kernels of width sigma; see
    :func:`hsic`. g is meant to have no means of seeing more than the bias: by default [1 x 1 convolution, BatchNorm,
    ReLU] four times, as published for biased MNIST; of large images, they look at every second, third, ... pixel, so
    that there are about 32 a side.

    The published code takes a step of g and then, from new passes, one of f; here both follow from one pass. It
    subtracts the diagonal of a kernel, as a row, from all entries: with a Gaussian kernel the estimate is the same,
    since it does not depend on a constant off the diagonal. Its recipe for biased MNIST, which is not among the
    datasets here: Adam at 1e-3, times 0.1 every 20 of 80 epochs.

    sigma = 1 is published for another network. Kernels of features far longer than sigma are 0 off the diagonal, and
    with them HSIC and its gradient: f is then erm. `sigma=0` takes the median distance of the batch's images in each
    network (Gretton et al., JMLR 2012, section 8), a constant to the gradient, which goes with the features' length.

    Supervision: none.
    """

    Parameters = ReBiasParameters
    learns_features = True
    search_space: ClassVar = {
        **Method.search_space,
        "method.independence": LogUniform(0.1, 10),
        "method.sigma": (0.0, 1.0),
    }

    def build(self) -> None:
        """Create f and g.

        Raises:
            ConfigurationError: On vectors, f has no more layers than the g that is taken by default.
        """
        super().build()
        shape = self.task.input_shape
        if not self.params.biased and len(shape) == 1 and depth(self.backbone) <= 1:
            raise ConfigurationError(
                "rebias needs a network that sees less than the run's, and on vectors one of a single hidden layer "
                "sees as much. Use a deeper backbone, such as --backbone mlp, or give another as rebias:biased=SPEC."
            )
        if self.params.biased or len(shape) == 1:
            self.biased = make_network(self, self.params.biased or "mlp:depth=1")
        else:
            self.biased = nn.Sequential(_pixelwise(*shape), nn.Linear(_WIDTHS[-1], self.task.num_classes))

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the cross-entropies of f and g, and the criterion as each of them sees it."""
        ours = self.features(batch.images)
        theirs = self.biased[0](batch.images)
        terms = {
            "classification": F.cross_entropy(self.classify(ours), batch.target),
            "biased": F.cross_entropy(self.biased[1](theirs), batch.target),
        }
        if len(batch) >= _LEAST:
            p = self.params
            terms["independence"] = p.independence * hsic(ours, theirs.detach(), p.sigma)
            terms["bias_alignment"] = -p.bias_alignment * hsic(ours.detach(), theirs, p.sigma)
        return terms


def _pixelwise(channels: int, height: int, width: int) -> nn.Sequential:
    """Return 1 x 1 convolutions and an average of all places: (N, C, H, W) -> (N, 128)."""
    stride = max(1, min(height, width) // _SIDE)
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise((channels, *_WIDTHS)):
        convolution = nn.Conv2d(inputs, outputs, 1, stride=1 if layers else stride, bias=False)
        layers += [convolution, nn.BatchNorm2d(outputs), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())


def gaussian_kernel(features: Tensor, sigma: float) -> Tensor:
    """Return exp(-|x_i - x_j|^2 / (2 sigma^2)), sigma the median distance where it is 0: (N, d) -> (N, N)."""
    squares = features.square().sum(dim=1)
    distance = (squares[:, None] + squares - 2 * features @ features.T).clamp_min(0)
    if sigma:
        return torch.exp(-distance / (2 * sigma**2))
    pairs = distance.detach()[*torch.triu_indices(len(features), len(features), 1, device=features.device)]
    least = _ROUNDING * squares.detach().mean() + torch.finfo(distance.dtype).tiny  # of features that are all alike
    return torch.exp(-distance / (2 * torch.maximum(pairs.median(), least)))


def hsic(first: Tensor, second: Tensor, sigma: float) -> Tensor:
    """Return the unbiased estimate of the Hilbert-Schmidt independence criterion (Song et al., JMLR 2012, eq. 5).

    Args:
        first: (N, d) with N >= 4.
        second: (N, d').
        sigma: Width of the Gaussian kernels; 0 for the median distance of each.

    Returns:
        The scalar; its mean is 0 where the two are independent.
    """
    with torch.autocast(first.device.type, enabled=False):
        kernels = [gaussian_kernel(at_least_float32(features), sigma) for features in (first, second)]
        return hsic_of_kernels(*kernels)


def hsic_of_kernels(first: Tensor, second: Tensor) -> Tensor:
    """Return the unbiased estimate from kernel matrices, (N, N) each; their diagonals do not matter."""
    n = len(first)
    itself = torch.eye(n, dtype=torch.bool, device=first.device)
    first, second = first.masked_fill(itself, 0), second.masked_fill(itself, 0)
    of_both = (first * second).sum()
    of_totals = first.sum() * second.sum() / ((n - 1) * (n - 2))
    of_rows = 2 * (first.sum(dim=0) @ second.sum(dim=0)) / (n - 2)
    return (of_both + of_totals - of_rows) / (n * (n - 3))
