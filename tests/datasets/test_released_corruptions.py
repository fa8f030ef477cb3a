"""Every corruption against what the released code makes of the same images, given the same random numbers.

Expected values: ``data/corrupted_cifar10_protocol.py`` of github.com/alinlab/LfF (e66796e), whose functions are those
of ``make_cifar_c.py`` of github.com/hendrycks/robustness, run with the versions of its own requirements.txt (numpy
1.18.2, scipy 1.3.0, scikit-image 0.15.0, opencv-python 4.2.0.32, Pillow 7.1.1, Wand 0.5.8) and ImageMagick 6.9.11-60
Q16, with ``numpy.random`` replaced by the stream of each image. (Impulse noise, which it draws by two choices, was
given both by one uniform number.)
"""

from __future__ import annotations

import zlib

import numpy as np
import pytest

from ncbench_datasets.corruptions import corrupt

# CRC-32 of the nine corrupted images, by severity.
EXACT = {
    "gaussian noise": (0x7255C727, 0xCBD9DC99, 0x72F456A3, 0xCEB01409, 0x0E44C40B),
    "shot noise": (0x0B4D03DB, 0x7F517022, 0x19D3752A, 0x0FD95292, 0x9409BDD1),
    "impulse noise": (0x1B669CF0, 0xF04AA068, 0xAFD6E651, 0x6DACB2C9, 0xA076F7C3),
    "speckle noise": (0x3042D2BF, 0x0E53DCCA, 0x1D999732, 0x578E2A19, 0x85BAB855),
    "motion blur": (0xF69DB607, 0xDB0F7FBB, 0x1A49EC1E, 0x1A49EC1E, 0xAE530BA6),
    "zoom blur": (0x0FB7AB73, 0x2E855F4F, 0x858CDECA, 0xF5AE8BA2, 0xE564AE9C),
    "snow": (0xC6D093B7, 0xAC55A96F, 0x543F7223, 0xFA882E09, 0x001D374A),
    "fog": (0xEDEF2D0F, 0xAE3C498D, 0x96CC9061, 0x3F3F69CC, 0xCD6F14D2),
    "brightness": (0x97C76F77, 0xBA247D80, 0x96B291F5, 0x07013912, 0x08A88255),
    "contrast": (0xB04396AC, 0x24FE43E3, 0x3BC0DEFB, 0x9A4C3ADD, 0x81ECE260),
    "elastic": (0x3438B4E8, 0x98D76671, 0x3B083AD8, 0xFC00F0D8, 0x6CBA9EA7),
    "pixelate": (0x84921CD0, 0x8EAB794D, 0xF41FDFCC, 0xCBC0E8D9, 0x551B5755),
    "spatter": (0xCC924AA3, 0x18530126, 0x7A4367E3, 0xF66BB399, 0x20473A57),
    "saturate": (0x12467118, 0x8EA117EA, 0xD6A92032, 0x77870B2C, 0xB4C825A9),
}
# The sum of the grey levels of the nine, by severity.
NEARLY = {
    "gaussian blur": (3_243_042, 3_245_520, 3_244_419, 3_244_422, 3_243_090),
    "defocus blur": (3_246_732, 3_246_885, 3_247_014, 3_246_129, 3_247_500),
    "glass blur": (3_218_563, 3_208_519, 3_204_866, 3_184_192, 3_180_384),
}


def _images() -> np.ndarray:
    """Return a pattern that wraps around, a smooth ramp and a flat grey, three times each."""
    row, column = np.mgrid[0:32, 0:32]
    pattern = np.stack([row * 7 + column * 3, row * 5 + column * 11, row * 13 + column * 2], axis=2) % 256
    ramp = np.stack([row * 8, column * 8, 255 - row * 4 - column * 4], axis=2)
    return np.tile(np.stack([pattern, ramp, np.full((32, 32, 3), 100)]).astype(np.uint8), (3, 1, 1, 1))


@pytest.mark.parametrize("name", list(EXACT))
def test_a_corruption_is_the_released_one_bit_for_bit(name: str) -> None:
    for severity, expected in enumerate(EXACT[name], start=1):
        corrupted = corrupt(_images(), name, severity, "test", range(9))
        assert zlib.crc32(corrupted.tobytes()) == expected, f"severity {severity}"


@pytest.mark.parametrize("name", list(NEARLY))
def test_a_blur_loses_no_grey_level_to_rounding_errors_and_is_else_the_released_one(name: str) -> None:
    for severity, expected in enumerate(NEARLY[name], start=1):
        corrupted = corrupt(_images(), name, severity, "test", range(9))
        more = (int(corrupted.sum()) - expected) / corrupted.size  # a level at most, where an area is flat
        assert 0 <= more < 0.1, f"severity {severity}"
