"""Ctrl-C, SIGTERM and SIGUSR1: a run that trains loses no more than the epoch under way, a sweep ends its runs."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from types import FrameType

TERMINATING: tuple[signal.Signals, ...] = (
    signal.SIGTERM,
    *([signal.SIGUSR1] if hasattr(signal, "SIGUSR1") else []),  # Windows has none
)
"""What batch systems send before they kill. Slurm sends SIGTERM to every process of a step twice, when the time that it
leaves them begins and when it ends, and can announce a time limit by SIGUSR1 (``--signal``)."""


class Interrupts:
    """Hears Ctrl-C and the signals with which batch systems announce that they will kill.

    State in the middle of an epoch cannot be restored exactly, so a checkpoint is of an epoch's end, and epochs that
    follow one another quickly do not all get one. Where every epoch that is done is on the disk, an interrupt raises
    ``KeyboardInterrupt`` at once. Else it is noted, for the training loop to write a checkpoint and end after the epoch
    under way, which is a short one then. Once a run is ending, Ctrl-C alone hastens it.

    Args:
        warn: Told, in one line, what the run waits for.

    Attributes:
        unsaved: Epochs that are done and not on the disk yet; kept by the training loop.
        noted: Whether the run is to end after the epoch under way.
    """

    def __init__(self, warn: Callable[[str], None]) -> None:
        self.warn = warn
        self.unsaved = 0
        self.noted = False

    @contextlib.contextmanager
    def heard(self) -> Iterator[None]:
        """Listen while the context is open; outside the main thread, which alone gets signals, do nothing."""
        numbers = [*TERMINATING]
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # a job in the background ignores Ctrl-C
            numbers.append(signal.SIGINT)
        with _handled(numbers, self._hear):
            yield

    def _hear(self, number: int, frame: FrameType | None) -> None:
        if self.noted and number != signal.SIGINT:
            return
        if self.noted or not self.unsaved:
            self.noted = True
            raise KeyboardInterrupt
        self.noted = True
        with contextlib.suppress(Exception):  # a warning that cannot be written must not end the epoch
            self.warn(
                "Interrupted: the run ends after this epoch, to keep what was done since the last checkpoint. Ctrl-C "
                "again ends it at once."
            )


@contextlib.contextmanager
def terminated_as_interrupted() -> Iterator[None]:
    """Treat the first signal to terminate as Ctrl-C, and further ones as nothing.

    Outside the main thread, which alone gets signals, do nothing.
    """
    ending = False

    def interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal ending
        if not ending:
            ending = True
            raise KeyboardInterrupt

    with _handled(TERMINATING, interrupt):
        yield


@contextlib.contextmanager
def _handled(numbers: Sequence[int], handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, former in previous.items():
            signal.signal(number, former)
