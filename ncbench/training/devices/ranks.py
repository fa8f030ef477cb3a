"""The processes of one run: what they tell one another, so that all of them do the same."""

from __future__ import annotations

import atexit
import contextlib
import datetime
import io
import pickle
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from ncbench.contracts.errors import ConfigurationError, NcbenchError, described
from ncbench.training.devices.place import LOST, find_place

T = TypeVar("T")

# The first prepares the data, or waits for a lock, while the others wait for it; one that dies is noticed at once.
_PATIENCE = datetime.timedelta(days=7)


class LostProcessError(NcbenchError):
    """Another process of the run has ended before its end; the code tells whoever has started both which one was."""

    exit_code = LOST


@dataclass
class Ranks:
    """The processes of a run as one of them sees them; by itself, the only one.

    Every process makes every call, in the same order.

    Args:
        device: Where this process trains.
        index: Which one it is; the first alone locks, logs, writes and notifies.
        count: How many there are.
        draws: Whether a backbone has drawn random numbers in its forward pass, which each process does for its rows.
    """

    device: torch.device
    index: int = 0
    count: int = 1
    draws: bool = False

    @property
    def first(self) -> bool:
        """Whether this is the process that writes."""
        return self.index == 0

    def lead(self, work: Callable[[], T]) -> T:
        """Return what `work` returns in the first process, which alone does it; what it raises is raised in all."""
        if self.count == 1:
            return work()
        if not self.first:
            content, here = io.BytesIO(self._broadcast(b"")), {"cuda:0": str(self.device)}
            # Pickled by the first process of this very run: nothing of it comes from a file or a stranger.
            value, error = torch.load(content, map_location=here, weights_only=False)
            if error is not None:
                raise error
            return value  # type: ignore[no-any-return]
        try:
            value = work()
        except BaseException as error:
            with contextlib.suppress(LostProcessError):
                self._broadcast(_packed((None, error)))
            raise
        self._broadcast(_packed((value, None)))
        return value

    def follow(self, work: Callable[[], T]) -> T:
        """Return what `work` returns here; the first process does it before the others, which find what it has made."""
        done: list[T] = []
        self.lead(lambda: done.append(work()))
        return done[0] if done else work()

    def agree(self, value: T) -> T:
        """Return the first process's value: equal computations need not be equal to the last bit."""
        return self.lead(lambda: value)

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in any process."""
        if self.count == 1:
            return flag
        number = torch.tensor(int(flag))
        with _together():
            dist.all_reduce(number, dist.ReduceOp.MAX)
        return bool(number)

    @torch.no_grad()
    def share(self, module: nn.Module) -> None:
        """Take over the first process's parameters and buffers."""
        if self.count == 1:
            return
        tensors = [tensor for tensor in (*module.parameters(), *module.buffers()) if tensor.numel()]
        if not tensors:
            return
        # As bytes, all at once: not every backend takes every dtype, and each message is waited for.
        flat = [tensor.contiguous().flatten().view(torch.uint8) for tensor in tensors]
        content = torch.cat(flat)
        with _together():
            dist.broadcast(content, 0)
        for tensor, part in zip(tensors, torch.split(content, [len(each) for each in flat]), strict=True):
            shared = part.clone().view(tensor.dtype).view(tensor.shape)
            if not torch.equal(tensor, shared):  # one that is expanded cannot be written to, nor need it be
                tensor.copy_(shared)

    @torch.no_grad()
    def average(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Return the mean of each tensor over the processes, which tell one another all of them at once."""
        means = dict[int, Tensor]()
        for dtype in sorted({tensor.dtype for tensor in tensors}, key=str):
            alike = [place for place, tensor in enumerate(tensors) if tensor.dtype == dtype]
            flat = torch.cat([tensors[place].flatten() for place in alike])
            with _together():
                dist.all_reduce(flat)
            parts = torch.split(flat.div_(self.count), [tensors[place].numel() for place in alike])
            means |= {place: part.view(tensors[place].shape) for place, part in zip(alike, parts, strict=True)}
        return [means[place] for place in range(len(tensors))]

    def average_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Average what each parameter's gradient is by now, lest processes that compute the same drift apart."""
        if self.count == 1:
            return
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        for gradient, mean in zip(gradients, self.average(gradients), strict=True):
            gradient.copy_(mean)

    def gather(self, rows: Tensor, number: int) -> Tensor:
        """Return the rows of all processes, (number, ...), of which `rows` are this one's."""
        sizes = [self.part(number, index) for index in range(self.count)]
        most = max(part.stop - part.start for part in sizes)
        content = rows.detach().contiguous().view(len(rows), -1).view(torch.uint8)
        padded = torch.nn.functional.pad(content, (0, 0, 0, most - len(rows)))
        parts = [torch.empty_like(padded) for _ in sizes]
        with _together():
            dist.all_gather(parts, padded)
        whole = torch.cat([part[: size.stop - size.start] for part, size in zip(parts, sizes, strict=True)])
        return whole.view(rows.dtype).view(number, *rows.shape[1:])

    def part(self, number: int, index: int | None = None) -> slice:
        """Return which of `number` rows are this process's, or another's."""
        index = self.index if index is None else index
        return slice(index * number // self.count, (index + 1) * number // self.count)

    def _broadcast(self, content: bytes) -> bytes:
        box: list[Any] = [content]
        with _together():
            dist.broadcast_object_list(box, 0, device=torch.device("cpu"))
        return bytes(box[0])


ALONE = Ranks(torch.device("cpu"))


def join(devices: int, device: str) -> Ranks:
    """Return the processes of a run on so many devices, once all of them are there.

    Args:
        devices: How many there are; those that run on them have been started by ``ncbench run --devices``, by torchrun
            or by srun.
        device: ``"auto"``, ``"cpu"``, ``"cuda"`` or, of one device, ``"cuda:1"``, ...

    Raises:
        ConfigurationError: There are not as many devices here, or nobody has started the processes.
        NcbenchError: The processes do not find one another.
    """
    if devices == 1:
        return Ranks(find_device(device))
    place = find_place(devices)
    if place is None:
        raise ConfigurationError(
            f"A run on {devices} devices takes a process for each: start this by torchrun --nproc-per-node {devices}, "
            f"or use ncbench run --devices {devices}."
        )
    found = find_device(device)
    if found.type == "cuda":
        here = torch.cuda.device_count()
        if found.index is not None or place.beside > here:
            raise ConfigurationError(
                f"--device {device} does not go with {devices} processes: each takes one of the {here} CUDA devices "
                "here. Give --device cuda and no more processes on a machine than it has devices, or --device cpu."
            )
        found = torch.device("cuda", place.local % here)  # Slurm may show each task one device, its own
        torch.cuda.set_device(found)
    if not dist.is_initialized():
        try:
            dist.init_process_group(
                "cpu:gloo,cuda:nccl" if found.type == "cuda" else "gloo",
                init_method=place.rendezvous,
                rank=place.index,
                world_size=place.count,
                timeout=_PATIENCE,
            )
        except (RuntimeError, ValueError) as error:
            raise NcbenchError(
                f"The {place.count} processes of this run do not find one another at {place.rendezvous}: "
                f"{described(error):.200}"
            ) from error
        atexit.register(dist.destroy_process_group)
    return Ranks(found, place.index, place.count)


def find_device(name: str) -> torch.device:
    """Return the device of this name.

    Raises:
        ConfigurationError: There is no such device on this machine.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    here = ["cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
    if name not in here and not (name == "cuda" and len(here) > 1):
        raise ConfigurationError(f"There is no device {name!r} here. Use one of: auto, {', '.join(here)}.")
    return torch.device(name)


@contextlib.contextmanager
def _together() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:  # what torch.distributed raises depends on which end was closed first
        raise LostProcessError(
            "Another process of this run has ended before its end. --resume goes on from the newest checkpoint."
        ) from error


def _packed(outcome: tuple[Any, BaseException | None]) -> bytes:
    buffer = io.BytesIO()
    try:
        torch.save(outcome, buffer)
    except (pickle.PicklingError, TypeError, AttributeError):
        if outcome[1] is None:
            raise
        return _packed((None, NcbenchError(described(outcome[1]))))
    return buffer.getvalue()
