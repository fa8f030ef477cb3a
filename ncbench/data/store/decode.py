"""Image files to uint8 arrays of one size.

All of it is Pillow's: telling formats apart, refusing images of absurd size, decoding, and fitting to size. Many files
are decoded by threads: its decoders release the interpreter lock, so on two cores threads are as fast as
processes (1.0 to 1.1 of a pool's rate, JPEG files of 500 x 375 pixels, Pillow 13), and nothing has to be sent back.
"""

from __future__ import annotations

import io
import os
import warnings
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import PIL
from PIL import Image, ImageOps, UnidentifiedImageError

from ncbench.contracts.dataset import Dataset, ImageFile
from ncbench.contracts.errors import lacking

_FARTHEST = 64  # times the size; what of an image would reach beyond, resized, is cut off before
CHUNK = 16  # files a task: 2.4 MB of images at 224 px, and few enough to keep every core busy at the end

# What datasets come in. Pillow knows more formats, among them one that is a program to be run by another one (EPS).
_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
_RGB_READY = frozenset({"1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "HSV", "LAB"})


@dataclass(frozen=True)
class Framing:
    """How an image is fitted to one size: rows cut off, the shorter side resized, the centre cropped out.

    Args:
        size: (H, W) of the result.
        shorter_side: Pixels the shorter side is resized to; at least H and W. None resizes to cover `size` exactly.
        cut_bottom: Rows cut off at the bottom before anything else.

    Raises:
        ValueError: `shorter_side` does not cover `size`.
    """

    size: tuple[int, int]
    shorter_side: int | None = None
    cut_bottom: int = 0

    def __post_init__(self) -> None:
        if self.shorter_side is not None and self.shorter_side < max(self.size):
            raise ValueError(f"shorter_side {self.shorter_side} does not cover the size {self.size}")

    @classmethod
    def of(cls, dataset: Dataset) -> Framing | None:
        """Return how a dataset's image files are fitted; None for feature vectors, which have no size."""
        size = dataset.image_size
        return None if size is None else cls(size, dataset.shorter_side, dataset.cut_bottom)


def decoder() -> list[str]:
    """Return the name and version of what decodes images here, which decide what pixels come out."""
    return ["Pillow", PIL.__version__]


def decode_in_order(
    files: Sequence[ImageFile], framing: Framing, workers: int | None = None
) -> Iterator[tuple[np.ndarray, list[str]]]:
    """Decode files in threads; yield them a chunk at a time, in order. A few chunks are in memory at a time.

    Args:
        files: N files.
        framing: How every image is fitted to one size (H, W).
        workers: Threads; None for one a core.

    Yields:
        (n, H, W, 3) uint8 images, and n reasons, "" where the file was good. A bad file's image is left blank.

    Raises:
        DataError: The file around an image is damaged.
    """
    workers = workers or _cores()
    pending: deque[Future[tuple[np.ndarray, list[str]]]] = deque()
    threads = ThreadPoolExecutor(workers, thread_name_prefix="ncbench-decode")
    with warnings.catch_warnings():  # here, since the filters are not a thread's own
        # Of damaged EXIF data, dropped transparency, many pixels: none says of which image, and the image is decoded.
        warnings.filterwarnings("ignore", module=r"PIL\.")
        try:
            for start in range(0, len(files), CHUNK):
                pending.append(threads.submit(_decode_chunk, files[start : start + CHUNK], framing))
                if len(pending) > 2 * workers:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:  # also where whoever reads this leaves early, or Ctrl-C ends it
            threads.shutdown(cancel_futures=True)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _decode_chunk(files: Sequence[ImageFile], framing: Framing) -> tuple[np.ndarray, list[str]]:
    images = np.zeros((len(files), *framing.size, 3), dtype=np.uint8)
    reasons = [""] * len(files)
    for position, file in enumerate(files):
        try:
            images[position] = decode(file if isinstance(file, Path) else file.read_bytes(), framing)
        except ValueError as error:
            reasons[position] = str(error) or "it cannot be decoded"
    return images, reasons


def decode(file: Path | bytes, framing: Framing) -> np.ndarray:
    """Decode one image, upright, in RGB, and fit it to one size.

    Grey, palette, CMYK and 16-bit images become 8-bit RGB; transparency is dropped, as torchvision's loader does. The
    filter is Pillow's bilinear one with antialiasing, the default of torchvision's Resize.

    Args:
        file: An image file (JPEG, PNG, WebP, GIF, BMP, TIFF or PPM), or its content.
        framing: How it is fitted.

    Returns:
        (H, W, 3) uint8.

    Raises:
        ValueError: The file cannot be decoded; the message says why, without the path.
        OSError: Too many files are open.
    """
    try:
        # Of a file no more is read than its image takes: what only looks like one may be gigabytes long.
        with file.open("rb") if isinstance(file, Path) else io.BytesIO(file) as content:
            image = _decoded(content)
    except Exception as error:  # Pillow's decoders raise many types on damaged files, struct.error among them
        if isinstance(error, OSError) and error.errno and lacking(error):  # which says nothing of the image
            raise
        raise ValueError(_reason(error)) from error
    if framing.cut_bottom:
        if image.height <= framing.cut_bottom:
            raise ValueError(f"it has {image.height} rows, of which the last {framing.cut_bottom} are to be cut off")
        image = image.crop((0, 0, image.width, image.height - framing.cut_bottom))
    return np.asarray(_fit(image, framing))


def _reason(error: Exception) -> str:
    """Return one line without the path."""
    if isinstance(error, UnidentifiedImageError):
        return "it is no image of a known format"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def _decoded(content: IO[bytes]) -> Image.Image:
    """Decode an image, upright and in RGB."""
    if not content.read(1):
        raise ValueError("it has no bytes")
    content.seek(0)
    with Image.open(content, formats=_FORMATS) as opened:
        opened.load()
        return _rgb(ImageOps.exif_transpose(opened))


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode in _RGB_READY:
        return image.convert("RGB")
    if image.mode == "I" or image.mode.startswith("I;16"):
        # convert() would clip 16-bit values at 255 instead of scaling them.
        wide = np.asarray(image)
        if wide.min() < 0 or wide.max() > 65535:
            raise ValueError(f"values of mode {image.mode} lie outside 0..65535")
        return Image.fromarray((wide >> 8).astype(np.uint8)).convert("RGB")
    raise ValueError(f"images of mode {image.mode} are not supported")


def _fit(image: Image.Image, framing: Framing) -> Image.Image:
    height, width = framing.size
    rows, columns = framing.size if framing.shorter_side is None else (framing.shorter_side,) * 2  # to be covered
    image = _without_far_ends(image, rows, columns)
    # As torchvision's Resize does: one side is hit exactly, the other's fraction is cut off.
    if image.width * rows <= image.height * columns:
        resized = (columns, max(rows, image.height * columns // image.width))
    else:
        resized = (max(columns, image.width * rows // image.height), rows)
    if resized != image.size:
        image = image.resize(resized, Image.Resampling.BILINEAR)
    left, top = round((image.width - width) / 2), round((image.height - height) / 2)
    if (image.width, image.height) != (width, height):
        image = image.crop((left, top, left + width, top + height))
    return image


def _without_far_ends(image: Image.Image, rows: int, columns: int) -> Image.Image:
    """Cut what is far from the centre off an image that is thin beyond use, as 1 x 30000: enlarged to cover the size,
    it would take gigabytes for a centre of a few pixels.
    """
    width = min(image.width, -(-_FARTHEST * columns * image.height // rows))
    height = min(image.height, -(-_FARTHEST * rows * image.width // columns))
    if (width, height) == image.size:
        return image
    left, top = (image.width - width) // 2, (image.height - height) // 2
    # As much from either side, so that the centre stays where it is.
    return image.crop((left, top, image.width - left, image.height - top))
