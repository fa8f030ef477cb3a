"""The table of free feature vectors: a row is found by its number, and nothing else is taken for a number."""

from __future__ import annotations

import pytest
import torch

from ncbench import ConfigurationError
from ncbench_backbones.ufm import UFM, UFMParameters

DIGITS = 5


@pytest.fixture
def backbone() -> UFM:
    torch.manual_seed(0)
    return UFM((DIGITS,), UFMParameters(dim=7))


def digits_of(numbers: list[int]) -> torch.Tensor:
    """(N, D) float32, as the dataset writes numbers down."""
    return torch.tensor([[float(digit) for digit in f"{number:0{DIGITS}b}"] for number in numbers])


def test_a_number_finds_its_row(backbone: UFM) -> None:
    assert backbone.feature_dim == 7
    assert torch.equal(backbone(digits_of(list(range(32)))), backbone.table)


def test_only_the_rows_of_a_batch_get_a_gradient(backbone: UFM) -> None:
    backbone(digits_of([3, 17])).sum().backward()
    assert backbone.table.grad is not None
    assert backbone.table.grad.abs().sum(dim=1).nonzero().flatten().tolist() == [3, 17]


def test_vectors_start_out_of_about_unit_length_in_any_dimension() -> None:
    for dim in (4, 64):
        squares = UFM((12,), UFMParameters(dim=dim)).table.square().sum(dim=1)
        assert squares.mean().item() == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("input_shape", [(3, 8, 8), (1, 28, 28), (1, 1, 5), (21,)])
def test_inputs_that_are_no_numbers_are_refused(input_shape: tuple[int, ...]) -> None:
    with pytest.raises(ConfigurationError, match=r"are no numbers\. Use --dataset ufm, or another backbone"):
        UFM(input_shape, UFMParameters())
