"""Arithmetic the measures rely on, whatever the caller has switched on around them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def full_precision(device: torch.device) -> Iterator[None]:
    """Run a block without gradients, without autocast and without reduced-precision float32 products.

    A measurement is often taken inside a training loop's autocast region, with TF32 allowed for speed. Either would
    round the inputs of every product, which run on `device`, to 8-11 bits: alone worth 1e-3 in NC1.
    """
    with torch.no_grad(), torch.autocast(device_type=device.type, enabled=False), _without_tf32():
        yield


@contextmanager
def _without_tf32() -> Iterator[None]:
    """Keep matrix products of float32 in float32, by whichever of PyTorch's two interfaces it has.

    Where it has the newer one, `fp32_precision` a backend, the older one raises once a program has used the newer.
    """
    if hasattr(torch.backends.cuda.matmul, "fp32_precision"):
        backends = (torch.backends.cuda.matmul, torch.backends.mkldnn.matmul)  # type: ignore[attr-defined]
        before = [backend.fp32_precision for backend in backends]
        try:
            for backend in backends:
                backend.fp32_precision = "ieee"
            yield
        finally:
            for backend, precision in zip(backends, before, strict=True):
                backend.fp32_precision = precision
    else:
        allowed = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("highest")
        try:
            yield
        finally:
            torch.set_float32_matmul_precision(allowed)


def accumulator_device(device: torch.device) -> torch.device:
    """Where float64 sums are held: the features' own device, or the CPU for one without float64 (Apple's MPS)."""
    return torch.device("cpu") if device.type == "mps" else device


_ORDINARY = 30  # powers of two: with vectors above 1e9 or below 1e-9 squares soon leave float32, theirs float64


def unit_scale(vectors: torch.Tensor) -> float:
    """The power of two that brings the largest entry near 1, by which no measure changes; 1.0 where none is needed.

    Multiplying by it is exact. Without it squares of finite numbers overflow to infinity, or underflow to zero.

    Args:
        vectors: floating point, not empty.

    Raises:
        ValueError: when an entry is not finite: of finite features, because their sum is not.
    """
    largest = float(torch.linalg.vector_norm(vectors, ord=math.inf))
    if not math.isfinite(largest):
        raise ValueError("features are too large to be summed; divide them all by one number, which changes no measure")
    exponent = math.frexp(largest)[1]
    if largest == 0 or abs(exponent) <= _ORDINARY:
        return 1.0
    largest_power = math.frexp(torch.finfo(vectors.dtype).max)[1] - 2
    return math.ldexp(1.0, min(-exponent, largest_power))
