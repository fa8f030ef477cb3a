"""Write one split of a store, and hash it on the way."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ncbench.contracts.dataset import Split
from ncbench.contracts.images import ImageFile
from ncbench.data.decode import Framing
from ncbench.data.decode_pool import decode_in_order

_BLOCK_BYTES = 1 << 24
_WORTH_A_REPORT = 500  # images; fewer are decoded in about a second


@dataclass(frozen=True)
class SplitDigest:
    """What the meta data say of a split.

    Args:
        shape: (N, H, W, C).
        sha256: Over shape, pixels, target and bias.
        bias: Whether the bias attribute is known.
        decoded: Whether image files were decoded.
    """

    shape: tuple[int, ...]
    sha256: str
    bias: bool
    decoded: bool

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return asdict(self) | {"shape": list(self.shape)}


def bytes_needed(split: Split, size: tuple[int, int]) -> int:
    """Return the bytes a split takes on disk, up to the headers."""
    number = len(split.images)
    pixels = split.images.nbytes if isinstance(split.images, np.ndarray) else number * size[0] * size[1] * 3
    longest = max(map(len, split.ids), default=1)
    return pixels + number * (16 + 4 * longest)


def write_split(
    folder: Path, name: str, split: Split, framing: Framing, say: Callable[[str], None]
) -> tuple[SplitDigest, list[str]]:
    """Write a split's arrays below `folder`, decoding its images where they are files.

    The images go through ordinary writes, not through a map: on a full disk a write fails with an error that can be
    reported, where touching a map's page would kill the process.

    Returns:
        Its digest, and a phrase for each file that could not be decoded: its path and the reason.

    Raises:
        OSError: The folder cannot be written to.
    """
    bad: list[str] = []
    if isinstance(split.images, np.ndarray):
        shape, blocks, decoded = split.images.shape, _blocks(split.images), False
    else:
        shape, decoded = (len(split.images), *framing.size, 3), True
        blocks = _decoded(name, split.images, framing, bad, say)
    digest = _start(shape)
    with (folder / f"{name}.images.npy").open("wb") as file:
        header = {"descr": "|u1", "fortran_order": False, "shape": tuple(map(int, shape))}
        np.lib.format.write_array_header_1_0(file, header)
        for block in blocks:
            file.write(block.data)
            digest.update(block.data)
    target = split.target.astype(np.int64)
    bias = None if split.bias is None else split.bias.astype(np.int64)
    _finish(digest, target, bias)
    np.save(folder / f"{name}.target.npy", target, allow_pickle=False)
    if bias is not None:
        np.save(folder / f"{name}.bias.npy", bias, allow_pickle=False)
    np.save(folder / f"{name}.ids.npy", np.asarray(split.ids, dtype=np.str_), allow_pickle=False)
    return SplitDigest(tuple(map(int, shape)), digest.hexdigest(), bias is not None, decoded), bad


def split_sha256(images: np.ndarray, target: np.ndarray, bias: np.ndarray | None) -> str:
    """Return the digest of a split: images (N, H, W, C) uint8, target and bias (N,) int64."""
    digest = _start(images.shape)
    for block in _blocks(images):
        digest.update(block.data)
    _finish(digest, target, bias)
    return digest.hexdigest()


def _start(shape: Sequence[int]) -> hashlib._Hash:
    return hashlib.sha256(repr(tuple(map(int, shape))).encode())


def _finish(digest: hashlib._Hash, target: np.ndarray, bias: np.ndarray | None) -> None:
    digest.update(target.astype("<i8").tobytes())
    digest.update(b"unknown" if bias is None else bias.astype("<i8").tobytes())


def _blocks(images: np.ndarray) -> Iterator[np.ndarray]:
    step = max(1, _BLOCK_BYTES // max(1, images[:1].nbytes))
    for start in range(0, len(images), step):
        yield np.ascontiguousarray(images[start : start + step])


def _decoded(
    name: str, files: Sequence[ImageFile], framing: Framing, bad: list[str], say: Callable[[str], None]
) -> Iterator[np.ndarray]:
    done, tenth = 0, max(1, len(files) // 10)
    for images, reasons in decode_in_order(files, framing):
        bad += [f"{files[done + i]} ({reason})" for i, reason in enumerate(reasons) if reason]
        before, done = done, done + len(images)
        if len(files) >= _WORTH_A_REPORT and (done // tenth != before // tenth or done == len(files)):
            say(f"{name}: {done} of {len(files)} images decoded")
        yield images
