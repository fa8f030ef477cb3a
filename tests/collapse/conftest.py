"""What the measures are compared with."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch

from ncbench.collapse.definition import measure_by_definition


@pytest.fixture
def textbook() -> Callable[..., dict[str, float]]:
    """The measures as a textbook writes them."""
    return measure_by_definition


@pytest.fixture
def assert_agrees() -> Callable[..., None]:
    """Compare every measure with the textbook's, to 1e-5 of it."""

    def check(actual: dict[str, float], expected: dict[str, float], relative: float = 1e-5) -> None:
        assert actual.keys() == expected.keys()
        for name, value in expected.items():
            assert actual[name] == pytest.approx(value, rel=relative, abs=1e-9), name

    return check


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Small tensors gain nothing from a second thread, and lose much to waiting for it on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
