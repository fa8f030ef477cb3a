from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.transforms import RandomResizedCrop
from torchvision.transforms.functional import InterpolationMode
from torchvision.transforms.functional import resized_crop as torchvision_resized_crop

from ncbench.data.loading.augmentation import (
    AUGMENTATIONS,
    PADDING,
    crop_flip,
    random_regions,
    resized_crop,
)


def _images(batch: int, height: int, width: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (batch, 3, height, width), generator=generator, dtype=torch.uint8)


@given(
    height=st.integers(4, 40),
    width=st.integers(4, 40),
    data=st.data(),
)
@settings(max_examples=60, deadline=None)
def test_resized_crop_is_torchvisions(height: int, width: int, data: st.DataObject) -> None:
    batch = 4
    images = _images(batch, height, width)
    draw = data.draw
    tops = [draw(st.integers(0, height - 1)) for _ in range(batch)]
    lefts = [draw(st.integers(0, width - 1)) for _ in range(batch)]
    heights = [draw(st.integers(1, height - top)) for top in tops]
    widths = [draw(st.integers(1, width - left)) for left in lefts]
    flipped = torch.tensor([draw(st.booleans()) for _ in range(batch)])
    regions = torch.tensor([tops, lefts, heights, widths])
    ours = resized_crop(images, regions, flipped)
    for i in range(batch):
        theirs = torchvision_resized_crop(
            images[i].float(),
            tops[i],
            lefts[i],
            heights[i],
            widths[i],
            [height, width],
            InterpolationMode.BILINEAR,
            antialias=True,
        )
        theirs = theirs.flip(2) if flipped[i] else theirs
        torch.testing.assert_close(ours[i], theirs, atol=0.01, rtol=0)  # of 255


def test_resized_crop_of_everything_changes_nothing() -> None:
    images = _images(3, 12, 9)
    whole = torch.tensor([[0], [0], [12], [9]]).expand(4, 3)
    torch.testing.assert_close(resized_crop(images, whole, torch.zeros(3, dtype=torch.bool)), images.float())


@pytest.mark.parametrize("size", [(224, 224), (60, 200), (200, 20)])
def test_regions_have_torchvisions_distribution(size: tuple[int, int]) -> None:
    number = 3000
    ours = random_regions(number, size, torch.Generator().manual_seed(0))
    drawer = RandomResizedCrop(10)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        image = torch.zeros(1, *size)
        params = torch.tensor([drawer.get_params(image, list(drawer.scale), list(drawer.ratio)) for _ in range(number)])
    for mine, theirs in zip(ours, params.T, strict=True):
        spread = theirs.float().std() / number**0.5
        assert abs(mine.float().mean().item() - theirs.float().mean().item()) <= 5 * spread + 1e-6
        assert mine.float().std().item() == pytest.approx(theirs.float().std().item(), rel=0.08, abs=1e-6)


@given(height=st.integers(1, 60), width=st.integers(1, 60), seed=st.integers(0, 2**31))
@settings(max_examples=100, deadline=None)
def test_regions_lie_inside_the_image(height: int, width: int, seed: int) -> None:
    regions = random_regions(16, (height, width), torch.Generator().manual_seed(seed))
    tops, lefts, heights, widths = regions
    assert (tops >= 0).all()
    assert (lefts >= 0).all()
    assert (heights >= 1).all()
    assert (widths >= 1).all()
    assert (tops + heights <= height).all()
    assert (lefts + widths <= width).all()


def test_crop_flip_shifts_and_flips() -> None:
    images = _images(64, 10, 12)
    out = crop_flip(images, torch.Generator().manual_seed(0))
    assert out.shape == images.shape
    assert out.dtype == torch.uint8
    padded = torch.nn.functional.pad(images, (PADDING,) * 4)
    seen = set()
    for i in range(64):
        found = [
            (top, left, flip)
            for top in range(2 * PADDING + 1)
            for left in range(2 * PADDING + 1)
            for flip in (False, True)
            if torch.equal(
                out[i],
                padded[i, :, top : top + 10, left : left + 12].flip(2)
                if flip
                else padded[i, :, top : top + 10, left : left + 12],
            )
        ]
        assert len(found) == 1
        seen.add(found[0])
    assert len({flip for _, _, flip in seen}) == 2
    assert len({top for top, _, _ in seen}) == 2 * PADDING + 1


@pytest.mark.parametrize("name", sorted(AUGMENTATIONS))
def test_augmentation_depends_on_the_generator_alone(name: str) -> None:
    images = _images(8, 16, 16)
    first = AUGMENTATIONS[name](images, torch.Generator().manual_seed(3))
    torch.manual_seed(99)
    second = AUGMENTATIONS[name](images, torch.Generator().manual_seed(3))
    third = AUGMENTATIONS[name](images, torch.Generator().manual_seed(4))
    assert torch.equal(first, second)
    assert torch.equal(first, third) == (name == "none")
