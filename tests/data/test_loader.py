from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ncbench import ConfigurationError
from ncbench.data.loading import loader as loader_module
from ncbench.data.loading.loader import Loader, batch_bounds
from ncbench.data.store.open import StoredSplit

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.3, 0.1)
CPU = torch.device("cpu")


def _split(number: int = 13, channels: int = 3) -> StoredSplit:
    images = np.random.default_rng(0).integers(0, 256, (number, 6, 5, channels), dtype=np.uint8)
    images.flags.writeable = False
    target = np.arange(number, dtype=np.int64) % 2
    return StoredSplit(images, target, None, np.array([str(i) for i in range(number)]))


def _loader(split: StoredSplit, device: torch.device = CPU, scaling: str = "unit", **options: Any) -> Loader:
    augmentation = options.pop("augmentation", "none")
    return Loader(split, device, scaling, augmentation, MEAN, STD, **options)


@pytest.mark.parametrize("resident", [True, False])
@pytest.mark.parametrize("channels_last", [True, False])
@pytest.mark.parametrize("scaling", ["unit", "standard", "unit_twice"])
def test_batches_are_the_images_asked_for(resident: bool, channels_last: bool, scaling: str) -> None:
    split = _split()
    loader = _loader(split, scaling=scaling, resident=resident, channels_last=channels_last)
    order = torch.tensor([3, 3, 12, 0, 7, 1, 2])
    raw = torch.from_numpy(split.inputs[order.numpy()]).permute(0, 3, 1, 2).float()
    mean, std = (torch.tensor(values)[:, None, None] for values in (MEAN, STD))
    expected = {"unit": raw / 255, "standard": (raw / 255 - mean) / std, "unit_twice": raw / 255 / 255}[scaling]
    got = list(loader.batches(order, 3, None))
    assert [len(index) for _, index in got] == [3, 3, 1]
    images = torch.cat([images for images, _ in got])
    torch.testing.assert_close(images, expected, rtol=1e-5, atol=1e-6)
    assert torch.equal(torch.cat([index for _, index in got]), order)
    assert got[0][0].dtype == torch.float32
    layout = torch.channels_last if channels_last else torch.contiguous_format
    assert got[0][0].is_contiguous(memory_format=layout)


@pytest.mark.parametrize("resident", [True, False])
@pytest.mark.parametrize("augmentation", ["none", "crop_flip", "resized_crop_flip"])
def test_a_pass_depends_on_the_order_and_the_generator_alone(resident: bool, augmentation: str) -> None:
    loader = _loader(_split(), augmentation=augmentation, resident=resident)
    order = torch.randperm(13, generator=torch.Generator().manual_seed(0))
    passes = []
    for _ in range(2):
        passes.append(list(loader.batches(order, 4, torch.Generator().manual_seed(1))))
        torch.rand(5)
    for first, second in zip(*passes, strict=True):
        assert torch.equal(first[0], second[0])
        assert torch.equal(first[1], second[1])


@pytest.mark.parametrize("augmentation", ["none", "crop_flip", "resized_crop_flip"])
def test_resident_and_streamed_batches_are_the_same(augmentation: str) -> None:
    split, order = _split(), torch.arange(13)
    kept = _loader(split, augmentation=augmentation, resident=True)
    streamed = _loader(split, augmentation=augmentation, resident=False)
    for first, second in zip(
        kept.batches(order, 4, torch.Generator().manual_seed(1)),
        streamed.batches(order, 4, torch.Generator().manual_seed(1)),
        strict=True,
    ):
        assert torch.equal(first[0], second[0])


def test_changing_a_batch_leaves_the_data_alone() -> None:
    for resident in (True, False):
        loader = _loader(_split(), resident=resident)
        before = [images.clone() for images, _ in loader.batches(torch.arange(13), 5)]
        for images, _ in loader.batches(torch.arange(13), 5):
            images.zero_()
        assert all(
            torch.equal(old, new) for old, (new, _) in zip(before, loader.batches(torch.arange(13), 5), strict=True)
        )


def test_evaluation_is_not_augmented() -> None:
    split = _split()
    loader = _loader(split, augmentation="crop_flip")
    (images, _), *_ = loader.batches(torch.arange(13), 13)
    torch.testing.assert_close(images, torch.from_numpy(np.array(split.inputs)).permute(0, 3, 1, 2).float() / 255)


@pytest.mark.parametrize("resident", [True, False])
@pytest.mark.parametrize("scaling", ["unit", "standard"])
def test_vectors_are_passed_on_as_they_are(resident: bool, scaling: str) -> None:
    values = np.random.default_rng(0).normal(size=(13, 6)).astype(np.float32)
    values.flags.writeable = False
    split = StoredSplit(values, np.arange(13) % 2, None, np.arange(13).astype(np.str_))
    loader = _loader(split, scaling=scaling, resident=resident, channels_last=True)
    order = torch.tensor([3, 3, 12, 0, 7])
    for generator in (None, torch.Generator()):
        batches = list(loader.batches(order, 2, generator))
        assert torch.equal(torch.cat([batch for batch, _ in batches]), torch.tensor(values)[order])
        for batch, _ in batches:
            batch.zero_()  # they are the caller's
    assert torch.equal(next(loader.batches(order, 5))[0], torch.tensor(values)[order])
    assert len(loader) == 13


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"augmentation": "crop_flip"}, "augmentation=crop_flip"),
        ({"scaling": "unit_twice"}, "input_scaling=unit_twice"),
    ],
)
def test_vectors_are_not_treated_as_images(options: dict[str, Any], named: str) -> None:
    split = StoredSplit(
        np.zeros((3, 4), dtype=np.float32), np.zeros(3, dtype=np.int64), None, np.array(["a", "b", "c"])
    )
    with pytest.raises(ConfigurationError, match=f"{named}.* these inputs are feature vectors") as caught:
        _loader(split, **options)
    assert "\n" not in str(caught.value)


@given(number=st.integers(0, 50), batch_size=st.integers(1, 12), training=st.booleans())
def test_every_image_is_in_one_batch_and_none_is_alone_in_training(
    number: int, batch_size: int, training: bool
) -> None:
    bounds = batch_bounds(torch.arange(number), batch_size, training)
    covered = [position for start, stop in bounds for position in range(start, stop)]
    assert covered == list(range(number))
    sizes = [stop - start for start, stop in bounds]
    if training and batch_size > 1 and number > 1:
        assert min(sizes) > 1
        assert max(sizes) <= batch_size + 1
    else:
        assert all(size <= batch_size for size in sizes)


def test_a_split_that_does_not_fit_is_streamed(monkeypatch: pytest.MonkeyPatch) -> None:
    split = _split()
    assert _loader(split).resident
    monkeypatch.setattr(loader_module, "free_memory", lambda device: split.inputs.nbytes)
    assert not _loader(split).resident


def test_a_pass_can_be_left_early() -> None:
    for resident in (True, False):
        passing = _loader(_split(), resident=resident).batches(torch.arange(13), 2)
        next(passing)
        passing.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scaling": "units"}, "Did you mean 'unit'"),
        ({"augmentation": "crop"}, "Valid: crop_flip, none, resized_crop_flip"),
    ],
)
def test_unknown_names_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        _loader(_split(), **options)


def test_a_mean_for_every_channel_is_needed() -> None:
    with pytest.raises(ConfigurationError, match="1 channels, not 3 and 3"):
        _loader(_split(channels=1), scaling="standard")
    with pytest.raises(ConfigurationError, match="batch_size"):
        list(_loader(_split()).batches(torch.arange(3), 0))


@pytest.mark.gpu
@pytest.mark.parametrize("augmentation", ["none", "crop_flip", "resized_crop_flip"])
@pytest.mark.parametrize("channels_last", [True, False])
def test_on_a_gpu_both_ways_give_the_cpus_batches(augmentation: str, channels_last: bool) -> None:
    split, order = _split(200), torch.randperm(200, generator=torch.Generator().manual_seed(0))
    device = torch.device("cuda")
    expected = list(_loader(split, augmentation=augmentation).batches(order, 7, torch.Generator().manual_seed(1)))
    for resident in (True, False):
        loader = _loader(split, device, augmentation=augmentation, channels_last=channels_last, resident=resident)
        got = loader.batches(order, 7, torch.Generator().manual_seed(1))
        for (images, index), (wanted, positions) in zip(got, expected, strict=True):
            torch.testing.assert_close(images.cpu(), wanted, atol=1e-3, rtol=0)
            assert torch.equal(index.cpu(), positions)
