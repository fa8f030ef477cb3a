"""Batches of a stored split on the run's device.

A split that fits is kept on the device, images as uint8; a larger one is streamed from the memory map, on CUDA through
pinned memory and ahead of the step. Scaling and augmentation run on the device, a batch at a time. Feature vectors are
passed on as they are.

On a CPU, gathering uint8 rows and converting them costs less than gathering float32 rows (0.08 against 0.11 ms a batch
of 256 Colored MNIST images on two cores, torch 2.14), at a quarter of the memory. Two things matter for that:
`index_select` on a 2-d view is several times faster than indexing the 4-d tensor, and converting before dividing is
twenty times faster than dividing a uint8 tensor by a float.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import accumulate, pairwise
from types import MappingProxyType

import numpy as np
import torch
from torch import Tensor

from ncbench.contracts.errors import ConfigurationError, unknown_name
from ncbench.data.loading.augmentation import AUGMENTATIONS
from ncbench.data.loading.memory import free_memory
from ncbench.data.store.open import StoredSplit

RESIDENT_SHARE = 0.25  # of the memory that is free when a split is loaded; the model's comes later
_AHEAD = 3  # batches in flight when streaming
_COPY_BYTES = 1 << 26


def _unit(images: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    return images.div_(255)


def _standard(images: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    return images.sub_(255 * mean).div_(255 * std)


def _unit_twice(images: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    return images.div_(255 * 255)  # one pass instead of two, equal up to the last bit


def _centred(images: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    return images.sub_(127).div_(128)


INPUT_SCALINGS: Mapping[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = MappingProxyType(
    {"unit": _unit, "standard": _standard, "unit_twice": _unit_twice, "centred": _centred}
)
"""How raw images x in 0..255 become inputs: ``unit`` x / 255, ``standard`` (x / 255 - mean) / std a channel,
``centred`` (x - 127) / 128, as EfficientNet-Lite takes them, and ``unit_twice`` x / 255 / 255, which the published code
of Learning from Failure and its descendants computes."""


class Loader:
    """Batches of one split.

    Args:
        split: A split of a store.
        device: Where the batches are wanted.
        input_scaling: One of `INPUT_SCALINGS`. Of vectors, ``unit`` and ``standard``, the recipe's default, change
            nothing.
        augmentation: One of `AUGMENTATIONS`, for training batches of images.
        mean: C channel means in [0, 1], for the ``standard`` scaling.
        std: C standard deviations in [0, 1], likewise.
        channels_last: Yield images in the channels-last memory format.
        resident: Whether to keep the split on the device; None decides by its size and the free memory.

    Attributes:
        resident: Whether the split is kept on the device.

    Raises:
        ConfigurationError: The scaling or the augmentation does not exist or is of images where there are none, or
            `mean` or `std` does not have a value a channel.
    """

    def __init__(
        self,
        split: StoredSplit,
        device: torch.device,
        input_scaling: str,
        augmentation: str,
        mean: Sequence[float],
        std: Sequence[float],
        *,
        channels_last: bool = False,
        resident: bool | None = None,
    ) -> None:
        if input_scaling not in INPUT_SCALINGS:
            raise unknown_name("input scaling", input_scaling, INPUT_SCALINGS)
        if augmentation not in AUGMENTATIONS:
            raise unknown_name("augmentation", augmentation, AUGMENTATIONS)
        self._inputs = split.inputs
        self._size = split.inputs.shape[1:]  # (H, W, C) or (D,)
        self._of_images = len(self._size) == 3
        if not self._of_images and (augmentation != "none" or input_scaling not in ("unit", "standard")):
            raise ConfigurationError(
                f"input_scaling={input_scaling} and augmentation={augmentation} are a treatment of images, and these "
                "inputs are feature vectors: leave recipe.input_scaling and recipe.augmentation as they are by default."
            )
        if self._of_images and input_scaling == "standard" and {len(mean), len(std)} != {self._size[2]}:
            raise ConfigurationError(
                f"input_scaling=standard needs a mean and a standard deviation for each of the {self._size[2]} "
                f"channels, not {len(mean)} and {len(std)}."
            )
        self._device = device
        self._scale = INPUT_SCALINGS[input_scaling]
        self._augment = AUGMENTATIONS[augmentation]
        self._mean = torch.tensor(mean, dtype=torch.float32, device=device)[:, None, None]
        self._std = torch.tensor(std, dtype=torch.float32, device=device)[:, None, None]
        self._channels_last = channels_last
        if resident is None:
            resident = split.inputs.nbytes <= RESIDENT_SHARE * free_memory(device)
        self.resident = resident
        self._rows = self._to_device() if resident else None

    def __len__(self) -> int:
        """Return N, the number of images or vectors."""
        return len(self._inputs)

    def batches(
        self,
        order: Tensor | Sequence[Tensor],
        batch_size: int,
        generator: torch.Generator | None = None,
        views: int = 1,
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Pass over images, or vectors, in a given order.

        Args:
            order: (M,) int64 on the CPU, positions in the split, any subset, repeats allowed; or the batches
                themselves, each (B,) int64.
            batch_size: B, of an order that is not in batches yet. In training a last batch of one image joins the one
                before it, since batch normalisation needs two; nothing is dropped.
            generator: Source of the augmentation's randomness, for training; None evaluates: no augmentation.
            views: V, how many augmentations of each image are drawn.

        Yields:
            images (B, C, H, W) float32, (V, B, C, H, W) where V is not 1, or vectors (B, D) float32; and index (B,)
            int64, all on the device. They are the caller's to keep or change.
        """
        bounds = batch_bounds(order, batch_size, training=generator is not None)
        positions = order if isinstance(order, Tensor) else torch.cat(list(order))
        index = positions.to(self._device)
        for (start, stop), raw in zip(bounds, self._raw(positions, index, bounds), strict=True):
            inputs = [self._prepared(raw, generator) for _ in range(views)]
            yield inputs[0] if views == 1 else torch.stack(inputs), index[start:stop]

    def _prepared(self, raw: Tensor, generator: torch.Generator | None) -> Tensor:
        """Return a raw batch of images augmented and scaled; vectors as they are."""
        if not self._of_images:
            return raw
        if generator is not None:
            raw = self._augment(raw, generator)
        layout = torch.channels_last if self._channels_last else torch.contiguous_format
        # A float32 result of an augmentation is the batch's own, so scaling in place is safe.
        return self._scale(raw.to(torch.float32, memory_format=layout), self._mean, self._std)

    def _raw(self, order: Tensor, index: Tensor, bounds: Sequence[tuple[int, int]]) -> Iterator[Tensor]:
        """Yield raw batches on the device, (B, C, H, W) uint8 or (B, D) float32."""
        if self._rows is not None:
            for start, stop in bounds:
                yield self._shaped(self._rows.index_select(0, index[start:stop]))
        elif self._device.type == "cuda":
            yield from self._streamed(order.numpy(), bounds)
        else:
            positions = order.numpy()
            for start, stop in bounds:
                batch = np.take(self._inputs, positions[start:stop], axis=0)
                yield self._channels_first(torch.from_numpy(batch).to(self._device))

    def _channels_first(self, batch: Tensor) -> Tensor:
        """Return the view (B, C, H, W) of images (B, H, W, C); vectors as they are."""
        return batch.permute(0, 3, 1, 2) if self._of_images else batch

    def _shaped(self, rows: Tensor) -> Tensor:
        if self._channels_last or not self._of_images:
            return self._channels_first(rows.view(-1, *self._size))
        height, width, channels = self._size
        return rows.view(-1, channels, height, width)

    def _to_device(self) -> Tensor:
        """Copy the split to the device as rows (N, C*H*W) or (N, D), each in the memory order its batches need."""
        width = math.prod(self._size)
        dtype = torch.uint8 if self._of_images else torch.float32
        rows = torch.empty((len(self), width), dtype=dtype, device=self._device)
        shaped = self._shaped(rows)
        step = max(1, _COPY_BYTES // max(1, width * rows.element_size()))
        for start in range(0, len(self), step):  # in pieces: the whole never lies in memory twice
            piece = torch.from_numpy(np.array(self._inputs[start : start + step])).to(self._device)
            shaped[start : start + step] = self._channels_first(piece)
        return rows

    def _streamed(self, positions: np.ndarray, bounds: Sequence[tuple[int, int]]) -> Iterator[Tensor]:
        """Yield raw batches on a CUDA device, read and copied ahead by a thread on a stream of its own."""
        largest = max((stop - start for start, stop in bounds), default=0)
        dtype = torch.uint8 if self._of_images else torch.float32
        pinned = [torch.empty((largest, *self._size), dtype=dtype, pin_memory=True) for _ in range(_AHEAD)]
        copied = [_event() for _ in range(_AHEAD)]
        copies = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]

        def read(number: int) -> tuple[Tensor, torch.cuda.Event]:
            start, stop = bounds[number]
            slot = number % _AHEAD
            copied[slot].synchronize()  # the copy out of this buffer, three batches ago, has ended
            buffer = pinned[slot][: stop - start]
            # mode="clip" writes straight into the buffer; the default would go through a copy.
            np.take(self._inputs, positions[start:stop], axis=0, out=buffer.numpy(), mode="clip")
            with torch.cuda.stream(copies):
                batch = buffer.to(self._device, non_blocking=True)
                copied[slot] = _event()
                copied[slot].record(copies)
            return batch, copied[slot]

        with ThreadPoolExecutor(1, thread_name_prefix="ncbench-loader") as reader:
            pending: deque[Future[tuple[Tensor, torch.cuda.Event]]] = deque()
            try:
                for number in range(len(bounds) + _AHEAD - 1):
                    if number < len(bounds):
                        pending.append(reader.submit(read, number))
                    if number >= _AHEAD - 1:
                        batch, ready = pending.popleft().result()
                        stream = torch.cuda.current_stream(self._device)
                        stream.wait_event(ready)
                        batch.record_stream(stream)  # its memory is not reused before the step has read it
                        yield self._channels_first(batch)
            finally:
                for future in pending:
                    future.cancel()


def _event() -> torch.cuda.Event:
    return torch.cuda.Event()  # type: ignore[no-untyped-call]


def batch_bounds(order: Tensor | Sequence[Tensor], batch_size: int, training: bool) -> list[tuple[int, int]]:
    """Return the (start, stop) of every batch; in training a last batch of one image joins the one before it.

    Raises:
        ConfigurationError: The batch size is less than 1.
    """
    if batch_size < 1:
        raise ConfigurationError(f"batch_size must be at least 1, not {batch_size}.")
    if not isinstance(order, Tensor):
        return list(pairwise(accumulate((len(batch) for batch in order), initial=0)))
    number = len(order)
    starts = list(range(0, number, batch_size))
    if training and len(starts) > 1 and number - starts[-1] == 1 and batch_size > 1:
        del starts[-1]
    return list(pairwise([*starts, number]))
