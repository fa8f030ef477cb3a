"""Fixtures of the metric tests."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ncbench import Evaluation
from tests.metrics.evaluations import make_evaluation


@pytest.fixture
def evaluation() -> Callable[..., Evaluation]:
    return make_evaluation
