from __future__ import annotations

import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ncbench import ConfigurationError
from ncbench.data.store.prepare import prepare
from ncbench_datasets.colouring import JITTER, MEAN_COLOURS
from ncbench_datasets.made.biased_splits import assign_bias
from ncbench_datasets.made.colouring import ColouredDigits, colour

from .conftest import CARDS


def _reference(digits: np.ndarray, aligned: float) -> list[int]:
    """The published rule, an image at a time."""
    result = [-1] * len(digits)
    for digit in range(10):
        members = [i for i, d in enumerate(digits) if d == digit]
        shares = [aligned if c == digit else (1 - aligned) / 9 for c in range(10)]
        ends = [round(len(members) * float(total)) for total in np.cumsum(shares)]
        for rank, position in enumerate(members):
            result[position] = next(c for c in range(10) if ends[c] > rank)
    return result


@given(
    digits=st.lists(st.integers(0, 9), min_size=1, max_size=300),
    conflict=st.sampled_from([0.005, 0.01, 0.02, 0.05, 0.3, 0.9]),
)
@settings(max_examples=80, deadline=None)
def test_colours_follow_the_published_rule(digits: list[int], conflict: float) -> None:
    array = np.array(digits, dtype=np.int64)
    assert assign_bias(array, 1 - conflict, 10).tolist() == _reference(array, 1 - conflict)


@pytest.mark.parametrize("conflict", [0.005, 0.01, 0.02, 0.05])
def test_the_share_of_conflicting_images_is_the_one_asked_for(conflict: float) -> None:
    digits = np.random.default_rng(0).integers(0, 10, 60_000)
    colours = assign_bias(digits, 1 - conflict, 10)
    counts = np.zeros((10, 10), dtype=int)
    np.add.at(counts, (digits, colours), 1)
    totals = counts.sum(axis=1)
    assert np.abs(counts.diagonal() - totals * (1 - conflict)).max() <= 1
    off = counts[~np.eye(10, dtype=bool)].reshape(10, 9)
    assert np.abs(off - totals[:, None] * conflict / 9).max() <= 1


def test_a_colour_is_the_mean_with_jitter_times_the_grey_image() -> None:
    generator = np.random.default_rng(0)
    grey = generator.integers(0, 256, (20_000, 2, 2), dtype=np.uint8)
    grey[:, 0, 0] = 255
    colours = generator.integers(0, 10, 20_000)
    for sigma in JITTER:
        mean = MEAN_COLOURS[colours] / 255
        coloured = colour(grey, mean, sigma, seed=0)
        tint = coloured[:, 0, 0] / 255  # (N, 3), cut off to whole steps
        inner = (mean > 4 * sigma) & (mean < 1 - 4 * sigma)  # where the clamp takes no part
        assert np.std((tint - mean)[inner]) == pytest.approx(np.hypot(sigma, 1 / 255 / 12**0.5), rel=0.05)
        np.testing.assert_allclose(coloured / 255, grey[..., None] / 255 * tint[:, None, None], atol=2 / 255)


def test_colours_are_the_released_ones_bit_for_bit() -> None:
    # Expected: CRC-32, by severity, of what data/colored_mnist_protocol.py of github.com/alinlab/LfF (e66796e) makes of
    # the same images with the same jitter, in the place of torch.randn.
    grey = (np.arange(200 * 16).reshape(200, 4, 4) * 7 % 256).astype(np.uint8)
    means = ColouredDigits.mean_colours[np.arange(200) % 10]
    crcs = [zlib.crc32(colour(grey, means, sigma, seed=0).tobytes()) for sigma in JITTER]
    assert crcs == [0xAE126D4D, 0x2DE368D4, 0x819ABC91, 0xC57C8F90, 0x33326073]


def test_one_jitter_an_image_and_another_for_every_image() -> None:
    grey = np.full((50, 3, 3), 255, dtype=np.uint8)
    coloured = colour(grey, MEAN_COLOURS[[0] * 50] / 255, 0.05, seed=0)
    assert (coloured == coloured[:, :1, :1]).all()
    assert len(np.unique(coloured[:, 0, 0], axis=0)) > 40


def test_colored_digits_needs_nothing() -> None:
    store = prepare(CARDS["colored_digits"], {})
    train, test = store.splits["train"], store.splits["test"]
    assert train.inputs.shape == (1201, 8, 8, 3)
    assert test.inputs.shape == (596, 8, 8, 3)
    assert train.bias is not None
    assert test.bias is not None
    assert (train.target != train.bias).mean() == pytest.approx(0.01, abs=0.001)
    counts = np.zeros((10, 10), dtype=int)
    np.add.at(counts, (test.target, test.bias), 1)
    assert counts.min() >= 5
    assert counts.max() <= 7
    assert store.class_names == tuple("0123456789")
    assert len(store.bias_names) == 10
    # Unchanged since the first records: colored_digits keeps whole grey levels where Colored MNIST has fractions.
    assert store.fingerprint == "432466aa01fdccaf5b37f5e7e4b3c282d5bdaf5c788ab101ab4af1a2db6e9a5b"


@pytest.mark.parametrize("params", [{"conflict": 0}, {"conflict": 1}, {"severity": 6}, {"val": 1}, {"conflcit": 0.1}])
def test_parameters_out_of_range_are_refused(params: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        prepare(CARDS["colored_digits"], params)


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("conflict", "conflicting", "fingerprint"),
    # Stores of which every value was found to be what the released make_dataset.py makes, with the same jitter.
    [
        (0.005, 300, "e19fc2f674212ff18b7930a4737aefa21d637277d670d55829a104f6bf1ed31c"),
        (0.05, 3000, "6c2a9d17bd360a36565dcaed7854aaa5718aebb97b746f503c89239799d3300e"),
    ],
)
def test_the_real_colored_mnist(conflict: float, conflicting: int, fingerprint: str) -> None:
    store = prepare(CARDS["colored_mnist"], {"conflict": conflict})
    assert store.fingerprint == fingerprint
    train, test = store.splits["train"], store.splits["test"]
    assert train.inputs.shape == (60_000, 28, 28, 3)
    assert test.inputs.shape == (10_000, 28, 28, 3)
    assert train.target[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert train.bias is not None
    assert test.bias is not None
    assert int((train.target != train.bias).sum()) == pytest.approx(conflicting, abs=10)
    counts = np.zeros((10, 10), dtype=int)
    np.add.at(counts, (test.target, test.bias), 1)
    assert np.abs(counts - counts.sum(axis=1, keepdims=True) / 10).max() <= 1
    # A pixel that is white in the grey image shows the colour.
    white = train.inputs[train.target == 0].reshape(-1, 28 * 28, 3).max(axis=1)  # (n, 3)
    aligned = train.bias[train.target == 0] == 0
    np.testing.assert_allclose(np.median(white[aligned], axis=0), MEAN_COLOURS[0], atol=3)
