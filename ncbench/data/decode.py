"""Image files to uint8 arrays of one size.

Decoding runs in worker processes that import this module, so it imports neither torch nor pydantic.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import PIL
from PIL import Image, ImageOps

DECODER = ("Pillow", PIL.__version__)

_RGB_READY = frozenset({"1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "HSV", "LAB"})


def decode(path: Path, size: tuple[int, int]) -> np.ndarray:
    """Decode one file, upright, in RGB, its shorter side fitted to `size` and the rest cropped off around the centre.

    Grey, palette, CMYK and 16-bit images become 8-bit RGB; transparency is dropped, as torchvision's loader does. The
    filter is Pillow's bilinear one with antialiasing, the default of torchvision's Resize.

    Args:
        path: An image file in a format Pillow reads.
        size: (H, W) of the result.

    Returns:
        (H, W, 3) uint8.

    Raises:
        ValueError: The file cannot be decoded; the message says why, without the path.
    """
    try:
        with Image.open(path) as opened:
            opened.load()
            image = _rgb(ImageOps.exif_transpose(opened))
    except Exception as error:  # Pillow's decoders raise many types on damaged files, struct.error among them
        reason = str(error).replace(repr(str(path)), "it").replace(str(path), "it").splitlines()
        raise ValueError(reason[0] if reason else type(error).__name__) from error
    return np.asarray(_fit(image, *size))


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode in _RGB_READY:
        return image.convert("RGB")
    if image.mode == "I" or image.mode.startswith("I;16"):
        # convert() would clip 16-bit values at 255 instead of scaling them.
        wide = np.asarray(image).astype(np.int64)
        if wide.min() < 0 or wide.max() > 65535:
            raise ValueError(f"values of mode {image.mode} lie outside 0..65535")
        return Image.fromarray((wide >> 8).astype(np.uint8)).convert("RGB")
    raise ValueError(f"images of mode {image.mode} are not supported")


def _fit(image: Image.Image, height: int, width: int) -> Image.Image:
    # As torchvision's Resize does: one side is hit exactly, the other's fraction is cut off.
    if image.width * height <= image.height * width:
        resized = (width, max(height, image.height * width // image.width))
    else:
        resized = (max(width, image.width * height // image.height), height)
    if resized != image.size:
        image = image.resize(resized, Image.Resampling.BILINEAR)
    left, top = round((image.width - width) / 2), round((image.height - height) / 2)
    if (image.width, image.height) != (width, height):
        image = image.crop((left, top, left + width, top + height))
    return image
