"""Write one split of a store, and hash it on the way.

Decoding image files takes long, so what is decoded is secured from time to time: a checkpoint ``<split>.progress.json``
says how many images are on the disk and what their digest is. A process that is killed leaves the folder behind, and
the next one goes on from there (see :mod:`ncbench.data.store.build`, which tells whether the folder is of the same
build).
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import math
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from ncbench.contracts.dataset import ImageFile, Split
from ncbench.data.files import write_atomically
from ncbench.data.store.decode import Framing, decode_in_order

PROGRESS = ".progress.json"

_BLOCK_BYTES = 1 << 24
_SECURED_BYTES = 1 << 28  # decoded between two checkpoints: some seconds of work on few cores
_WORTH_A_REPORT = 500  # images; fewer are decoded in about a second


@dataclass(frozen=True)
class SplitDigest:
    """What the meta data say of a split.

    Args:
        shape: (N, H, W, C) of images, (N, D) of vectors.
        sha256: Over shape, pixels or values, target and bias.
        labels: SHA-256 over target and bias alone, quick enough to be checked whenever the split is opened.
        bias: Whether the bias attribute is known.
        decoded: Whether image files were decoded.
    """

    shape: tuple[int, ...]
    sha256: str
    labels: str
    bias: bool
    decoded: bool


def bytes_needed(split: Split, framing: Framing | None) -> int:
    """Return the bytes a split takes on disk, up to the headers."""
    shape, dtype = _shape_and_type(split, framing)
    number = shape[0]
    longest = max(map(len, split.ids), default=1)
    return math.prod(shape) * dtype.itemsize + number * (16 + 4 * longest)


def write_split(
    folder: Path, name: str, split: Split, framing: Framing | None, say: Callable[[str], None]
) -> tuple[SplitDigest, list[str]]:
    """Write a split's arrays below `folder`, decoding its images where they are files.

    The inputs go through ordinary writes, not through a map: on a full disk a write fails with an error that can be
    reported, where touching a map's page would kill the process.

    Args:
        folder: The store that is being built; what an interrupted build of the same store left in it is gone on with.
        name: Of the split.
        split: The split.
        framing: How image files are fitted to one size; None if there are none.
        say: Told, in one line, how far it is.

    Returns:
        Its digest, and a phrase for each file that could not be decoded: its path and the reason.

    Raises:
        OSError: The folder cannot be written to.
    """
    bad: list[str] = []
    path = folder / f"{name}.inputs.npy"
    shape, dtype = _shape_and_type(split, framing)
    decoded = not isinstance(split.inputs, np.ndarray)
    if isinstance(split.inputs, np.ndarray):
        digest = _start(shape)
        with path.open("wb") as file:
            file.write(_header(shape, dtype))
            for block in _blocks(split.inputs):
                file.write(block.data)
                digest.update(block.data)
            _secure(file)
    else:
        assert framing is not None
        digest = _write_decoded(path, split.inputs, framing, bad, say)
    target = split.target.astype(np.int64)
    bias = None if split.bias is None else split.bias.astype(np.int64)
    _finish(digest, target, bias)
    np.save(folder / f"{name}.target.npy", target, allow_pickle=False)
    if bias is not None:
        np.save(folder / f"{name}.bias.npy", bias, allow_pickle=False)
    np.save(folder / f"{name}.ids.npy", np.asarray(split.ids, dtype=np.str_), allow_pickle=False)
    labels = labels_sha256(target, bias)
    return SplitDigest(tuple(map(int, shape)), digest.hexdigest(), labels, bias is not None, decoded), bad


def _write_decoded(
    path: Path, files: Sequence[ImageFile], framing: Framing, bad: list[str], say: Callable[[str], None]
) -> hashlib._Hash:
    """Decode files into the array at `path`, from where an interrupted build was; return the digest of the pixels."""
    shape, name = (len(files), *framing.size, 3), path.name.partition(".")[0]
    header, size = _header(shape, np.dtype(np.uint8)), int(np.prod(shape[1:]))
    progress = path.with_name(name + PROGRESS)
    done, digest = _secured(path, progress, shape, header, size)
    secured, tenth = done, max(1, len(files) // 10)
    if done:
        say(f"{name}: going on after {done} of {len(files)} images")
        os.truncate(path, len(header) + done * size)
    else:
        path.write_bytes(header)
    with path.open("ab") as file:
        for images, reasons in decode_in_order(files[done:], framing):
            bad += [f"{files[done + i]} ({reason})" for i, reason in enumerate(reasons) if reason]
            file.write(images.data)
            digest.update(images.data)
            before, done = done, done + len(images)
            if len(files) >= _WORTH_A_REPORT and (done // tenth != before // tenth or done == len(files)):
                say(f"{name}: {done} of {len(files)} images decoded")
            # With a bad file the build fails in the end, and no later one may take its blank image for the file's.
            if not bad and ((done - secured) * size >= _SECURED_BYTES or done == len(files)):
                _secure(file)
                state = {"images": done, "sha256": digest.copy().hexdigest()}
                write_atomically(progress, json.dumps(state).encode())
                secured = done
    return digest


def _secured(path: Path, progress: Path, shape: Sequence[int], header: bytes, size: int) -> tuple[int, hashlib._Hash]:
    """Return how many images an interrupted build has left at `path`, and the digest up to there."""
    digest = _start(shape)
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):  # nothing was secured, or the disk lost it
        state = json.loads(progress.read_text(encoding="utf-8"))
        with path.open("rb") as file:
            whole = file.read(len(header)) == header
            left = int(state["images"]) * size
            while left > 0 and (block := file.read(min(left, _BLOCK_BYTES))):
                digest.update(block)
                left -= len(block)
        if whole and left == 0 and digest.hexdigest() == state["sha256"]:
            return int(state["images"]), digest
    return 0, _start(shape)


def _shape_and_type(split: Split, framing: Framing | None) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Return what the array of a split's inputs will be."""
    if isinstance(split.inputs, np.ndarray):
        return split.inputs.shape, split.inputs.dtype
    assert framing is not None, "image files without an image_size are refused before"
    return (len(split.inputs), *framing.size, 3), np.dtype(np.uint8)


def _header(shape: Sequence[int], dtype: np.dtype[Any]) -> bytes:
    buffer = io.BytesIO()
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": tuple(map(int, shape))}
    np.lib.format.write_array_header_1_0(buffer, header)
    return buffer.getvalue()


def _secure(file: IO[bytes]) -> None:
    file.flush()
    os.fsync(file.fileno())


def split_sha256(inputs: np.ndarray, target: np.ndarray, bias: np.ndarray | None) -> str:
    """Return the digest of a split: inputs (N, H, W, C) uint8 or (N, D) float32, target and bias (N,) int64."""
    digest = _start(inputs.shape)
    for block in _blocks(inputs):
        digest.update(block.data)
    _finish(digest, target, bias)
    return digest.hexdigest()


def labels_sha256(target: np.ndarray, bias: np.ndarray | None) -> str:
    """Return the digest of a split's labels, (N,) int64 each."""
    digest = hashlib.sha256()
    _finish(digest, target, bias)
    return digest.hexdigest()


def _start(shape: Sequence[int]) -> hashlib._Hash:
    return hashlib.sha256(repr(tuple(map(int, shape))).encode())


def _finish(digest: hashlib._Hash, target: np.ndarray, bias: np.ndarray | None) -> None:
    digest.update(target.astype("<i8").tobytes())
    digest.update(b"unknown" if bias is None else bias.astype("<i8").tobytes())


def _blocks(inputs: np.ndarray) -> Iterator[np.ndarray]:
    step = max(1, _BLOCK_BYTES // max(1, inputs[:1].nbytes))
    for start in range(0, len(inputs), step):
        yield np.ascontiguousarray(inputs[start : start + step])
