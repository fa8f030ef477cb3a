"""Ctrl-C and SIGTERM while a run trains: no more is lost than the epoch under way."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType


class Interrupts:
    """Hears Ctrl-C, and SIGTERM, which schedulers send before they kill.

    State in the middle of an epoch cannot be restored exactly, so a checkpoint is of an epoch's end, and epochs that
    follow one another quickly do not all get one. Where every epoch that is done is on the disk, an interrupt raises
    ``KeyboardInterrupt`` at once. Else it is noted, for the training loop to write a checkpoint and end after the epoch
    under way, which is a short one then; a second interrupt raises at once all the same.

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
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        numbers = [signal.SIGTERM]
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # a job in the background ignores Ctrl-C
            numbers.append(signal.SIGINT)
        previous = {number: signal.signal(number, self._hear) for number in numbers}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        if self.noted or not self.unsaved:
            raise KeyboardInterrupt
        self.noted = True
        self.warn(
            f"Interrupted: the run ends after this epoch, to keep the {self.unsaved} before it that are not on the "
            "disk yet. Ctrl-C again ends it at once."
        )
