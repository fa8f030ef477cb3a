"""The corruptions of Hendrycks & Dietterich (Benchmarking Neural Network Robustness, ICLR 2019) for images of 32 x 32.

The definitions and the parameters of the five severities are those that CIFAR-10-C was made with, milder than those of
ImageNet-C. The libraries that offer these corruptions have the latter only, so they are written here, on whole batches
and without OpenCV, scikit-image and ImageMagick.

Given the same random numbers they were found to be, bit for bit, what the code of Learning from Failure
(github.com/alinlab/LfF, e66796e) makes of 400 photographs at every severity, with the libraries that it names and
ImageMagick 6.9.11 Q16, its accidents included: motion blur and snow are cut off to grey levels, drops of water deeper
than 255 start again at 0, and ``elastic`` looks pixels up in steps of 1/32 and mirrors them twice beyond two edges.
What differs:

- Random numbers are other ones: every image has a stream of its own, so that an image's corruption depends on its place
  in its split and on nothing else.
- ``frost`` blends in textures drawn by a generator in the place of crops of photographs, which are not ours to ship: 2
  to 4 grey levels brighter on average; see :func:`ncbench_datasets.made.corruptions.weather.frost`.
- ``jpeg`` is what Pillow's libjpeg-turbo makes. The code's Pillow had libjpeg 9, which scales colours otherwise: a grey
  level apart on average, up to 80 at the edges of saturated colours.
- Gaussian, glass and defocus blur add a hair (1e-6 of a grey level) before fractions are cut off, so that an image does
  not depend on the processor that rounds the sums: up to 2 % of the values are one level brighter.
- ``spatter`` leaves an image without a drop as it is, where the published code divides by zero.

The published code of ``glass blur`` means to swap neighbouring pixels, but since both sides are views of one array it
copies one over the other. CIFAR-10-C was made by that code, so this does the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import numpy as np

from ncbench_datasets.made.corruptions import blur, digital, noise, weather
from ncbench_datasets.made.corruptions.pixels import SIDE, Streams

_CHUNK = 1000  # images at a time: 25 MB as float64
_SPLITS = {"train": 0, "test": 1}

Corruption = Callable[[np.ndarray, int, Streams], np.ndarray]

CORRUPTIONS: Mapping[str, Corruption] = MappingProxyType(
    {
        "gaussian noise": noise.gaussian_noise,
        "shot noise": noise.shot_noise,
        "impulse noise": noise.impulse_noise,
        "speckle noise": noise.speckle_noise,
        "gaussian blur": blur.gaussian_blur,
        "defocus blur": blur.defocus_blur,
        "glass blur": blur.glass_blur,
        "motion blur": blur.motion_blur,
        "zoom blur": blur.zoom_blur,
        "snow": weather.snow,
        "frost": weather.frost,
        "fog": weather.fog,
        "spatter": weather.spatter,
        "brightness": digital.brightness,
        "contrast": digital.contrast,
        "elastic": digital.elastic,
        "jpeg": digital.jpeg,
        "pixelate": digital.pixelate,
        "saturate": digital.saturate,
        "original": lambda images, severity, streams: images,
    }
)


def corrupt(images: np.ndarray, name: str, severity: int, split: str, rows: Sequence[int]) -> np.ndarray:
    """Corrupt images.

    Args:
        images: (N, 32, 32, 3) uint8.
        name: One of :data:`CORRUPTIONS`.
        severity: 1 to 5.
        split: "train" or "test".
        rows: N places of the images in their split, from which all that is random about them follows.

    Returns:
        (N, 32, 32, 3) uint8.
    """
    if images.shape[1:] != (SIDE, SIDE, 3) or images.dtype != np.uint8 or not 1 <= severity <= 5:
        raise ValueError(f"images of {images.dtype} {images.shape}, severity {severity}")
    corrupted = np.empty_like(images)
    for start in range(0, len(images), _CHUNK):
        piece = slice(start, start + _CHUNK)
        # RandomState's distributions are frozen for good (NEP 19), and Philox has a stream for every key.
        streams = [np.random.RandomState(np.random.Philox(key=[_SPLITS[split], row])) for row in rows[piece]]
        corrupted[piece] = CORRUPTIONS[name](images[piece], severity, streams)
    return corrupted
