"""The table of free feature vectors: a row is found under every input scaling, and no image is taken for a number."""

from __future__ import annotations

import pytest
import torch

from ncbench import ConfigurationError
from ncbench.data.loading.loader import INPUT_SCALINGS
from ncbench_backbones.ufm import UFM, UFMParameters

DIGITS = 5


@pytest.fixture
def backbone() -> UFM:
    torch.manual_seed(0)
    return UFM((1, 1, DIGITS), UFMParameters(dim=7))


def images_of(numbers: list[int]) -> torch.Tensor:
    """(N, 1, 1, D) float32 in 0..255, as a loader has them before it scales."""
    pixels = [[255.0 * int(digit) for digit in f"{number:0{DIGITS}b}"] for number in numbers]
    return torch.tensor(pixels)[:, None, None]


@pytest.mark.parametrize("scaling", INPUT_SCALINGS)
def test_a_number_finds_its_row_whatever_the_scaling(backbone: UFM, scaling: str) -> None:
    half = torch.full((1, 1, 1), 0.5)
    images = INPUT_SCALINGS[scaling](images_of(list(range(32))), half, half)  # mean and deviation of the manifest
    assert backbone.feature_dim == 7
    assert torch.equal(backbone(images), backbone.table)


def test_only_the_rows_of_a_batch_get_a_gradient(backbone: UFM) -> None:
    backbone(images_of([3, 17])).sum().backward()
    assert backbone.table.grad is not None
    assert backbone.table.grad.abs().sum(dim=1).nonzero().flatten().tolist() == [3, 17]


def test_vectors_start_out_of_about_unit_length_in_any_dimension() -> None:
    for dim in (4, 64):
        squares = UFM((1, 1, 12), UFMParameters(dim=dim)).table.square().sum(dim=1)
        assert squares.mean().item() == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("image_shape", [(3, 8, 8), (1, 28, 28), (1, 1, 21), (2, 1, 5)])
def test_images_that_are_no_numbers_are_refused(image_shape: tuple[int, int, int]) -> None:
    with pytest.raises(ConfigurationError, match=r"are no numbers\. Use --dataset ufm, or another backbone"):
        UFM(image_shape, UFMParameters())
