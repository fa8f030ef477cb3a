"""Random augmentation of whole batches on their device.

Each function takes raw images (B, C, H, W), uint8 or float32 in 0..255, and a generator; all random numbers of a
batch are drawn at once on the generator's device, so a run's augmentation depends on its seed alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
from torch import Tensor

PADDING = 4
SCALE = (0.08, 1.0)  # share of the area, torchvision's RandomResizedCrop
RATIO = (3 / 4, 4 / 3)  # width : height, likewise
_TRIES = 10


def none(images: Tensor, generator: torch.Generator) -> Tensor:
    """Return the images as they are."""
    return images


def crop_flip(images: Tensor, generator: torch.Generator) -> Tensor:
    """Pad by 4 black pixels, crop back at a random place, flip half of the images left to right.

    The augmentation of CIFAR-size images (He et al., CVPR 2016, section 4.2).
    """
    batch, _, height, width = images.shape
    offsets = torch.randint(2 * PADDING + 1, (2, batch), generator=generator, device=generator.device)
    flipped = _half(batch, generator).to(images.device)
    top, left = offsets.to(images.device)
    padded = torch.nn.functional.pad(images, (PADDING,) * 4)
    windows = padded.unfold(2, height, 1).unfold(3, width, 1)  # view (B, C, 9, 9, H, W)
    cropped = windows[torch.arange(batch, device=images.device), :, top, left]  # (B, C, H, W)
    return torch.where(flipped[:, None, None, None], cropped.flip(3), cropped)


def resized_crop_flip(images: Tensor, generator: torch.Generator) -> Tensor:
    """Crop a random region, resize it to the full size, flip half of the images left to right.

    The augmentation of ImageNet-size images (Szegedy et al., CVPR 2015), with torchvision's defaults.
    """
    batch, _, height, width = images.shape
    regions = random_regions(batch, (height, width), generator)
    flipped = _half(batch, generator)
    return resized_crop(images, regions.to(images.device), flipped.to(images.device))


AUGMENTATIONS: Mapping[str, Callable[[Tensor, torch.Generator], Tensor]] = MappingProxyType(
    {"none": none, "crop_flip": crop_flip, "resized_crop_flip": resized_crop_flip}
)


def random_regions(batch: int, size: tuple[int, int], generator: torch.Generator) -> Tensor:
    """Draw regions with the distribution of torchvision's RandomResizedCrop.

    Up to ten regions are drawn for each image and the first that fits is taken; if none fits, the largest central one
    whose aspect ratio is within bounds.

    Args:
        batch: B.
        size: (H, W) of the images.
        generator: Source of the random numbers; the regions are on its device.

    Returns:
        (4, B) int64: the first row, the first column, the height and the width of each image's region.
    """
    height, width = size
    draws = torch.rand(4, batch, _TRIES, generator=generator, device=generator.device, dtype=torch.float64)
    area = height * width * (SCALE[0] + (SCALE[1] - SCALE[0]) * draws[0])
    aspect = torch.exp(math.log(RATIO[0]) + (math.log(RATIO[1]) - math.log(RATIO[0])) * draws[1])
    widths, heights = (area * aspect).sqrt().round(), (area / aspect).sqrt().round()  # (B, tries)
    fits = (widths > 0) & (widths <= width) & (heights > 0) & (heights <= height)
    first = fits.to(torch.uint8).argmax(dim=1, keepdim=True)  # the first True, or 0 where there is none
    found = fits.any(dim=1)
    # Where none fits: the largest central region whose width : height is within bounds.
    central_height, central_width = min(height, round(width / RATIO[0])), min(width, round(height * RATIO[1]))
    region_height = torch.where(found, heights.gather(1, first).squeeze(1), central_height).long()
    region_width = torch.where(found, widths.gather(1, first).squeeze(1), central_width).long()
    place = draws[2:].gather(2, first.expand(2, batch, 1)).squeeze(2)  # (2, B)
    top = torch.where(found, (place[0] * (height - region_height + 1)).long(), (height - central_height) // 2)
    left = torch.where(found, (place[1] * (width - region_width + 1)).long(), (width - central_width) // 2)
    return torch.stack((top, left, region_height, region_width))


def resized_crop(images: Tensor, regions: Tensor, flipped: Tensor) -> Tensor:
    """Resize one region of each image to the image's own size, bilinearly and with antialiasing.

    The same as torchvision's ``resized_crop(..., antialias=True)`` on float images, a batch at a time: the filter is
    separable, so it is one matrix a direction and image, and two batched products; a flip reverses a matrix's rows.

    Args:
        images: (B, C, H, W), values in 0..255.
        regions: (4, B) int64: first row, first column, height and width.
        flipped: (B,) bool, which images to flip left to right.

    Returns:
        (B, C, H, W) float32 in 0..255, not rounded.
    """
    top, left, height, width = regions
    rows = _resampling(top, height, images.shape[2])  # (B, H, H)
    columns = _resampling(left, width, images.shape[3])  # (B, W, W)
    columns = torch.where(flipped[:, None, None], columns.flip(1), columns)
    across = images.float() @ columns.transpose(1, 2).unsqueeze(1)
    return rows.unsqueeze(1) @ across


def _resampling(start: Tensor, length: Tensor, size: int) -> Tensor:
    """Return the matrices (B, size, size) that resample ``start .. start + length`` to `size` by a triangle filter."""
    grid = torch.arange(size, device=start.device, dtype=torch.float32) + 0.5
    scale = (length.float() / size)[:, None, None]
    centre = scale * grid[None, :, None]  # (B, out, 1), in pixels of the region
    pixel = grid[None, None, :] - start.float()[:, None, None]  # (B, 1, in), likewise
    weights = (1 - (pixel - centre).abs() / scale.clamp(min=1)).clamp(min=0)
    weights = weights * ((pixel > 0) & (pixel < length.float()[:, None, None]))
    return weights / weights.sum(dim=2, keepdim=True)


def _half(batch: int, generator: torch.Generator) -> Tensor:
    return torch.rand(batch, generator=generator, device=generator.device) < 0.5
