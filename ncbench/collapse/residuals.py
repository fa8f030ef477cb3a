"""The second pass over the features, once the class means are known: NC1, the class variances and NC4."""

from __future__ import annotations

import math

import torch

from ncbench.collapse.checks import check_batch, check_classifier
from ncbench.collapse.means import block_rows, whitening
from ncbench.collapse.nearest import NearestMeanComparison
from ncbench.collapse.precision import accumulator_device, full_precision, unit_scale

_COLUMNS = 8  # products with a multiple of this many columns are the fast ones


class ResidualStatistics:
    """What the features do around their class means, batch by batch; mergeable.

    Every product is taken of features less a nearby reference, so offsets and collapse cost no digits, and runs in the
    features' precision (float32 at least). NC4 is decided in float32 where the two best classes are apart by more than
    its rounding, and in float64 for the few images where they are not: the count is that of a float64 computation.

    Args:
        means: (K, d) float64 class means, nan for a class without images: `ClassMeans.means`.
        weight: (K, d) classifier, for NC4.
        bias: (K,) classifier bias, zero when None.
        dtype: dtype of the large products, float32 or float64.

    Raises:
        ValueError: when no class has a mean, or the classifier's shape does not fit.

    >>> import torch
    >>> from ncbench.collapse import ClassMeans
    >>> features = torch.tensor([[1.0, 0.0], [3.0, 0.0], [0.0, 2.0]])
    >>> labels = torch.tensor([0, 0, 1])
    >>> means = ClassMeans(2, 2)
    >>> means.update(features, labels)
    >>> residuals = ResidualStatistics(means.means, weight=torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
    >>> residuals.update(features, labels)
    >>> residuals.variances.tolist(), residuals.nc4_disagreement
    ([1.0, 0.0], 0.0)
    """

    def __init__(
        self,
        means: torch.Tensor,
        weight: torch.Tensor | None = None,
        bias: torch.Tensor | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        if means.ndim != 2:
            raise ValueError(f"means must have shape (classes, dimension), got {tuple(means.shape)}")
        if dtype not in (torch.float32, torch.float64):
            raise ValueError(f"dtype must be torch.float32 or torch.float64, got {dtype}")
        check_classifier(weight, bias, means.shape[0], means.shape[1])
        device = accumulator_device(means.device)
        means = means.detach().to(device, torch.float64)
        present = ~torch.isnan(means[:, 0])  # (K,)
        if not bool(present.any()):
            raise ValueError("means has no class with images")
        self._num_classes, self._dim = means.shape
        self._classes = present.nonzero().squeeze(1)  # (P,) the classes with images
        self._row = torch.where(present, torch.cumsum(present, 0) - 1, -1)  # (K,) class -> its row among those
        with full_precision(device):
            self._means = means if bool(present.all()) else means[self._classes]  # (P, d)
            self._scale = unit_scale(self._means - self._means.mean(0))
            if self._scale != 1:  # from here on everything is in units of its own
                self._means = self._means * self._scale
            self._near = self._means.to(dtype)  # residuals are taken from here; its rounding is undone at the end
            self._basis = whitening(self._means - self._means.mean(0))  # (d, r)
            self._comparison: NearestMeanComparison | None = None
            columns = [self._basis.T]
            if weight is not None:
                weight = weight.detach().to(device)
                constant = (torch.zeros(len(weight)) if bias is None else bias.detach()).to(device, torch.float64)
                if (scale_of_weight := unit_scale(weight)) != 1:
                    weight = weight * scale_of_weight
                constant = constant * self._scale * scale_of_weight
                if not bool(torch.isfinite(constant).all()):
                    raise ValueError("bias is too large to be compared with weight times features in float64")
                self._comparison = NearestMeanComparison(
                    self._means,
                    self._classes,
                    self._near,
                    self._basis,
                    weight,
                    constant,
                )
                if self._comparison.uses_residuals:  # one product gives the projection and the logits
                    columns.append(weight)
            width = sum(len(rows) for rows in columns)
            self._columns = self._near.new_zeros(-(-width // _COLUMNS) * _COLUMNS, self._dim)
            torch.cat([rows.to(dtype) for rows in columns], out=self._columns[:width])
            self._block = self._near.new_empty(0, self._dim)  # kept from batch to batch, as in the first pass
        self._counts = torch.zeros(len(self._classes), dtype=torch.int64, device=device)
        self._squares = torch.zeros(len(self._classes), dtype=torch.float64, device=device)  # sum |h - near|^2
        self._whitened = torch.zeros((), dtype=torch.float64, device=device)  # sum |A^T (h - near)|^2
        self._disagreements = torch.zeros((), dtype=torch.int64, device=device)

    def update(self, features: torch.Tensor, labels: torch.Tensor) -> None:
        """Add a batch of any size.

        Args:
            features: (n, d) floating point.
            labels: (n,) integer in 0..K-1, of classes that have a mean.

        Raises:
            ValueError: naming the argument and the offending entry.
        """
        check_batch(features, labels, self._num_classes, self._dim)
        device = self._counts.device
        with full_precision(device):
            rows = self._row[labels.to(device, torch.int64)]  # (n,)
            if len(rows) and int(rows.min()) < 0:
                entry = int((rows < 0).nonzero()[0, 0])
                raise ValueError(f"labels[{entry}] is {int(labels[entry])}, a class without a mean")
            lengths = torch.empty(len(rows), dtype=self._near.dtype, device=device)  # |h - near|
            differs = torch.zeros(len(rows), dtype=torch.bool, device=device)
            contested = torch.zeros(len(rows), dtype=torch.bool, device=device)
            strip = self._strip_rows()
            for start in range(0, len(rows), strip):
                part = slice(start, start + strip)
                self._add_strip(
                    self._in_own_units(features[part]), rows[part], lengths[part], differs[part], contested[part]
                )
            if self._comparison is not None:
                open_rows = contested.nonzero().squeeze(1)
                for few in torch.split(open_rows, strip) if len(open_rows) else ():
                    exact = self._in_own_units(features[few.to(features.device)])
                    differs[few] = self._comparison.differ_exactly(exact)
            self._squares.index_add_(0, rows, lengths.double().square_())
            self._counts += torch.bincount(rows, minlength=len(self._counts))
            self._disagreements += differs.sum()

    def _in_own_units(self, features: torch.Tensor) -> torch.Tensor:
        h = features.detach().to(self._counts.device)
        return h if self._scale == 1 else h.double() * self._scale

    def _strip_rows(self) -> int:
        """Images whose products are held together: many where they are narrow, fewer where each is K > d wide."""
        device = self._counts.device
        if self._comparison is None or self._comparison.uses_residuals:
            return block_rows(max(1, len(self._columns)), device)
        return max(256, min(1024, (1 << 23) // self._num_classes))  # enough rows to make one product efficient

    def _add_strip(
        self,
        h: torch.Tensor,
        rows: torch.Tensor,
        lengths: torch.Tensor,
        differs: torch.Tensor,
        contested: torch.Tensor,
    ) -> None:
        """Add images; `lengths`, `differs` and `contested` are filled in for them.

        The residuals exist a cache-sized block at a time; of a strip of blocks only their products are kept.
        """
        rank = self._basis.shape[1]
        product = self._near.new_empty(len(h), len(self._columns))
        step = block_rows(self._dim, h.device)
        if len(self._block) < min(step, len(h)):
            self._block = self._near.new_empty(min(step, len(h)), self._dim)
        for start in range(0, len(h), step):
            part = slice(start, start + step)
            residual = self._block[: len(rows[part])]  # (n, d)
            torch.index_select(self._near, 0, rows[part], out=residual)
            torch.sub(h[part].to(residual.dtype), residual, out=residual)
            torch.linalg.vector_norm(residual, dim=1, out=lengths[part])
            torch.mm(residual, self._columns.T, out=product[part])
        projection = product[:, :rank]  # (strip, r)
        self._whitened += torch.linalg.vector_norm(projection, dim=1).double().square_().sum()
        comparison = self._comparison
        if comparison is None:
            return
        if comparison.uses_residuals:
            x, distances = projection, lengths
            logits = product[:, rank : rank + self._num_classes]
        else:
            x = h.to(self._near.dtype) - comparison.reference  # (strip, d)
            distances = torch.linalg.vector_norm(x, dim=1)
            logits = x @ comparison.weight
        differs[:], contested[:] = comparison.compare(x, distances, rows, logits)

    def merge(self, other: ResidualStatistics) -> None:
        """Add what another object with the same means and classifier saw; `other` is left as it is.

        Raises:
            ValueError: when the means differ.
        """
        if self._means.shape != other._means.shape or not torch.equal(self._means, other._means.to(self._means.device)):
            raise ValueError("other was made for other class means")
        if (self._comparison is None) != (other._comparison is None):
            raise ValueError("only one of the two was given a classifier weight")
        device = self._counts.device
        self._counts += other._counts.to(device)
        self._squares += other._squares.to(device)
        self._whitened += other._whitened.to(device)
        self._disagreements += other._disagreements.to(device)

    @property
    def counts(self) -> torch.Tensor:
        """(K,) int64, images seen a class."""
        counts = torch.zeros(self._num_classes, dtype=torch.int64, device=self._counts.device)
        counts[self._classes] = self._counts
        return counts

    @property
    def variances(self) -> torch.Tensor:
        """(K,) float64, mean squared distance of a class's features to their mean; nan for a class without images.

        As float64 holds it: infinite or zero where the square of a distance is beyond that.
        """
        return self.scaled_variances / self._scale / self._scale

    @property
    def scale(self) -> float:
        """The power of two that features are multiplied by inside, so that squares neither overflow nor vanish."""
        return self._scale

    @property
    def scaled_variances(self) -> torch.Tensor:
        """(K,) float64, the variances of `scale` times the features, finite for features of any size."""
        rounding = (self._means - self._near.double()).square().sum(1)
        variances = torch.full((self._num_classes,), torch.nan, dtype=torch.float64, device=self._counts.device)
        variances[self._classes] = (self._squares / self._counts - rounding).clamp_min(0.0)
        return variances

    @property
    def nc1(self) -> float:
        """tr(Sigma_W Sigma_B^+) / K over the classes with images; nan when their means coincide."""
        if self._basis.shape[1] == 0:
            return math.nan
        rounding = ((self._means - self._near.double()) @ self._basis).square().sum(1) @ self._counts.double()
        return max(0.0, float((self._whitened - rounding) / self._counts.sum())) / len(self._classes)

    @property
    def nc4_disagreement(self) -> float:
        """Share of images on which the classifier differs from the nearest class mean; nan without a classifier."""
        if self._comparison is None:
            return math.nan
        return int(self._disagreements) / int(self._counts.sum())
