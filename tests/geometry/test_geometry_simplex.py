"""The simplex ETF, and that its orientation is uniform."""

from __future__ import annotations

import pytest
import torch

from ncbench.geometry import simplex_etf
from ncbench.geometry.simplex import haar_rows


@pytest.mark.parametrize(("k", "dim"), [(2, 1), (2, 5), (3, 2), (10, 9), (10, 64), (100, 99), (257, 512)])
def test_unit_rows_at_one_angle(k: int, dim: int) -> None:
    frame = simplex_etf(k, dim, torch.Generator().manual_seed(k))
    assert frame.shape == (k, dim)
    assert frame.dtype == torch.float32
    expected = (k * torch.eye(k) - 1) / (k - 1)
    torch.testing.assert_close(frame @ frame.T, expected, atol=2e-6, rtol=0)
    torch.testing.assert_close(frame.sum(0), torch.zeros(dim), atol=2e-6, rtol=0)


def test_float64_keeps_float64_precision() -> None:
    frame = simplex_etf(50, 60, torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = (50 * torch.eye(50, dtype=torch.float64) - 1) / 49
    torch.testing.assert_close(frame @ frame.T, expected, atol=1e-14, rtol=0)


def test_the_generator_decides_and_the_global_state_is_left_alone() -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    first, again, other = (simplex_etf(5, 8, torch.Generator().manual_seed(s)) for s in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first, again)
    assert not torch.allclose(first, other, atol=0.1)


def test_orientation_is_uniform() -> None:
    # QR alone leaves R's diagonal its signs, and Q then favours one half-space: the first entry is never positive.
    generator = torch.Generator().manual_seed(0)
    corner = torch.stack([haar_rows(2, 2, generator)[0] for _ in range(2000)])
    angle = torch.atan2(corner[:, 1], corner[:, 0])
    eighths = torch.histc(angle.float(), bins=8, min=-torch.pi, max=torch.pi)
    assert float(((eighths - 250).square() / 250).sum()) < 24.3  # chi-square, 7 degrees of freedom, p = 0.001
    signs = torch.stack([torch.linalg.det(haar_rows(2, 2, generator)) for _ in range(400)])
    assert abs(float(signs.mean())) < 0.2  # rotations and reflections alike


def test_too_few_dimensions_is_an_error_that_says_how_many() -> None:
    with pytest.raises(ValueError, match="dim is 8, but a simplex ETF of 10 classes needs at least 9"):
        simplex_etf(10, 8)
    with pytest.raises(ValueError, match="num_classes must be at least 2, got 1"):
        simplex_etf(1, 8)
