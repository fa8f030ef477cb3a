"""Class statistics of a stream of features: one pass, exact under merging, sound whatever the features' scale."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from ncbench.collapse.checks import check_batch, check_finite, check_sizes
from ncbench.collapse.precision import accumulator_device, full_precision


class ClassStatistics:
    """Counts, means, variances and the within-class second moment of labelled features, batch by batch.

    Everything is held in float64 and relative to a reference a class (its mean in the first batch that had it), so a
    common offset of any size and classes that have all but collapsed lose no digits. Two objects that saw different
    images merge into the one that would have seen both, so a data set can be spread over processes in any way.

    Memory: d^2 + 2 K d float64.

    Args:
        num_classes: K. A class without images stays absent; it never becomes a zero mean.
        dim: d, the features' dimension.
        device: where the sums are held; the CPU when that device has no float64.

    Raises:
        ValueError: when num_classes or dim is not positive.

    >>> import torch
    >>> features = torch.tensor([[1.0, 0.0], [3.0, 0.0], [0.0, 2.0]])
    >>> first, second = ClassStatistics(3, 2), ClassStatistics(3, 2)
    >>> first.update(features[:1], torch.tensor([0]))
    >>> second.update(features[1:], torch.tensor([0, 2]))
    >>> first.merge(second)
    >>> first.counts.tolist()
    [2, 0, 1]
    >>> first.means.tolist()
    [[2.0, 0.0], [nan, nan], [0.0, 2.0]]
    """

    def __init__(self, num_classes: int, dim: int, device: torch.device | str = "cpu") -> None:
        check_sizes(num_classes, dim)
        held = accumulator_device(torch.device(device))
        self._counts = torch.zeros(num_classes, dtype=torch.int64, device=held)
        self._reference = torch.zeros(num_classes, dim, dtype=torch.float64, device=held)
        self._shift = torch.zeros(num_classes, dim, dtype=torch.float64, device=held)  # sum of h - reference
        self._squares = torch.zeros(num_classes, dtype=torch.float64, device=held)  # sum of |h - reference|^2
        self._scatter = torch.zeros(dim, dim, dtype=torch.float64, device=held)  # sum of (h - ref)(h - ref)^T

    @property
    def num_classes(self) -> int:
        """K, absent classes included."""
        return self._reference.shape[0]

    @property
    def dim(self) -> int:
        """d."""
        return self._reference.shape[1]

    def update(self, features: torch.Tensor, labels: torch.Tensor) -> None:
        """Add a batch. A batch that is refused leaves the statistics as they were.

        Args:
            features: (n, d) floating point, on any device; n may be 0 or 1.
            labels: (n,) integer in 0..K-1.

        Raises:
            ValueError: naming the argument and the offending entry: shapes, labels out of range, non-finite features;
                or when features are beyond 1e75 or all within 1e-75 of zero.
        """
        check_batch(features, labels, self.num_classes, self.dim)
        with full_precision(self._counts.device):
            x = features.detach().to(self._counts.device, torch.float64)  # (n, d)
            y = labels.to(self._counts.device, torch.int64)
            if not bool(torch.isfinite(x.sum(0)).all()):
                check_finite("features", features)
            largest = float(x.abs().max()) if x.numel() else 0.0
            if largest and not 1 / _LARGEST < largest < _LARGEST:
                raise ValueError(
                    f"features reach {largest:.3g}, whose squares float64 cannot hold precisely; multiply them all by "
                    "one number, which changes no measure"
                )
            self._refer_new_classes(x, y)
            x = x - self._reference[y]
            self._counts += torch.bincount(y, minlength=self.num_classes)
            self._shift.index_add_(0, y, x)
            self._squares.index_add_(0, y, x.square().sum(1))
            self._scatter.addmm_(x.T, x)

    def _refer_new_classes(self, x: torch.Tensor, y: torch.Tensor) -> None:
        """Give every class seen for the first time its mean in this batch as the reference."""
        new = self._counts[y] == 0
        if not bool(new.any()):
            return
        classes, index, counts = torch.unique(y[new], return_inverse=True, return_counts=True)
        sums = x.new_zeros(len(classes), self.dim).index_add_(0, index, x[new])
        self._reference[classes] = sums / counts[:, None]

    def merge(self, other: ClassStatistics) -> None:
        """Add what another object saw (Chan, Golub & LeVeque 1983, pairwise update); `other` is left as it is.

        Args:
            other: statistics of the same K and d.

        Raises:
            ValueError: when K or d differ.
        """
        if (other.num_classes, other.dim) != (self.num_classes, self.dim):
            raise ValueError(
                f"other has {other.num_classes} classes in {other.dim} dimensions, "
                f"expected {self.num_classes} in {self.dim}"
            )
        device = self._counts.device
        with full_precision(device):
            ours, theirs = self._counts, other._counts.to(device)
            total = ours + theirs
            seen = total.clamp_min(1)
            our_mean = self._reference + self._shift / ours.clamp_min(1)[:, None]
            their_mean = (other._reference + other._shift / other._counts.clamp_min(1)[:, None]).to(device)
            # A class only one side has keeps that side's mean exactly: the other side's placeholder must not enter.
            base = torch.where((ours > 0)[:, None], our_mean, their_mean)
            delta = torch.where((theirs > 0)[:, None], their_mean - base, 0.0)  # (K, d)
            share = theirs.double() / seen  # (K,); int64 / int64 would be float32
            between = ours * share  # (K,)
            self._scatter = self.scatter + other.scatter.to(device) + (delta * between[:, None]).T @ delta
            self._squares = (
                self._central_squares() + other._central_squares().to(device) + between * delta.square().sum(1)
            )
            self._reference = base + delta * share[:, None]
            self._shift = torch.zeros_like(self._shift)
            self._counts = total

    @property
    def counts(self) -> torch.Tensor:
        """(K,) int64, images seen a class."""
        return self._counts.clone()

    @property
    def means(self) -> torch.Tensor:
        """(K, d) float64, the class means; nan for a class without images."""
        means = self._reference + self._shift / self._counts[:, None]
        return means.masked_fill((self._counts == 0)[:, None], torch.nan)

    @property
    def variances(self) -> torch.Tensor:
        """(K,) float64, mean squared distance of a class's features to their mean; nan for a class without images."""
        return self._central_squares() / self._counts

    @property
    def scatter(self) -> torch.Tensor:
        """(d, d) float64, the sum over images of (h - mu_y)(h - mu_y)^T; divided by the images it is Sigma_W."""
        seen = self._counts.clamp_min(1)
        return self._scatter - (self._shift / seen[:, None]).T @ self._shift

    def _central_squares(self) -> torch.Tensor:
        """(K,) float64, sum over a class's images of |h - mu|^2."""
        return (self._squares - self._shift.square().sum(1) / self._counts.clamp_min(1)).clamp_min(0.0)

    def state_dict(self) -> dict[str, torch.Tensor]:
        """The statistics as named tensors, to save or to send to another process."""
        return {name: getattr(self, f"_{name}").clone() for name in _STATE}

    @classmethod
    def from_state_dict(cls, state: Mapping[str, torch.Tensor]) -> ClassStatistics:
        """The statistics whose `state_dict` this is.

        Raises:
            ValueError: when a tensor is missing or has another shape than the rest.
        """
        missing = [name for name in _STATE if name not in state]
        if missing:
            raise ValueError(f"state has no {missing[0]!r}; it needs {', '.join(_STATE)}")
        reference = state["reference"]
        if reference.ndim != 2:
            raise ValueError(f"state['reference'] must have shape (classes, dimension), got {tuple(reference.shape)}")
        statistics = cls(reference.shape[0], reference.shape[1], reference.device)
        for name in _STATE:
            held: torch.Tensor = getattr(statistics, f"_{name}")
            if state[name].shape != held.shape:
                raise ValueError(f"state[{name!r}] must have shape {tuple(held.shape)}, got {tuple(state[name].shape)}")
            held.copy_(state[name])
        return statistics

    def __repr__(self) -> str:
        present = int((self._counts > 0).sum())
        images = int(self._counts.sum())
        return f"ClassStatistics({images} images, {present} of {self.num_classes} classes, dimension {self.dim})"


_LARGEST = 1e75  # products of four features or of their reciprocals stay within float64
_STATE = ("counts", "reference", "shift", "squares", "scatter")
