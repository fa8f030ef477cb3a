"""Ctrl-C, and signals to terminate: a run that trains loses no more than the epoch under way, a sweep ends its runs."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from types import FrameType

from ncbench.discovery import last_words

TERMINATING = tuple(
    signal.Signals[name]
    for name in ("SIGTERM", "SIGHUP", "SIGUSR1", "SIGXCPU")
    if name in signal.Signals.__members__  # Windows has the first alone
)
"""What batch systems send before they kill, and a terminal when it is closed. Slurm sends SIGTERM to every process of a
step twice, when the time that it leaves them begins and when it ends, and can announce a time limit by SIGUSR1
(``--signal``). One that is ignored, as SIGHUP after ``nohup``, stays so."""

LIFELINE = "NCBENCH_LIFELINE"
"""Variable that a launcher sets to say that a run's standard input ends when the launcher is gone."""
_GRACE_SECONDS = 60  # in which a run without a launcher writes its record


class Interrupts:
    """Hears Ctrl-C and the signals with which batch systems announce that they will kill.

    State in the middle of an epoch cannot be restored exactly, so a checkpoint is of an epoch's end, and epochs that
    follow one another quickly do not all get one. Where every epoch that is done is on the disk, an interrupt raises
    ``KeyboardInterrupt`` at once. Else it is noted, for the training loop to write a checkpoint and end after the epoch
    under way, which is a short one then. Once a run is ending, Ctrl-C alone hastens it.

    Args:
        warn: Told, in one line, what the run waits for.
        held: Whether it is noted even where nothing would be lost, since the run's other processes have to hear of it.

    Attributes:
        unsaved: Epochs that are done and not on the disk yet; kept by the training loop.
        noted: Whether the run is to end after the epoch under way.
        over: Whether it has ended, and nothing must keep it from writing its record.
    """

    def __init__(self, warn: Callable[[str], None], held: bool = False) -> None:
        self.warn = warn
        self.held = held
        self.unsaved = 0
        self.noted = False
        self.over = False

    @contextlib.contextmanager
    def heard(self) -> Iterator[None]:
        """Listen while the context is open; outside the main thread, which alone gets signals, do nothing."""
        with handled([*TERMINATING, signal.SIGINT], self._hear):  # a job in the background ignores Ctrl-C
            yield

    def raised_by(self, kind: type, error: KeyboardInterrupt) -> bool:
        """Whether an object of this kind has raised it on its own account, since no signal has come.

        Outside the main thread, which alone gets signals, that cannot be told, and is not claimed.
        """
        if self.noted or threading.current_thread() is not threading.main_thread():
            return False
        frames = traceback.walk_tb(error.__traceback__)
        return any(isinstance(frame.f_locals.get("self"), kind) for frame, _ in frames)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        if self.over or (self.noted and number != signal.SIGINT):
            return
        if self.noted or not (self.unsaved or self.held):
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

    with handled(TERMINATING, interrupt):
        yield


def end_with_launcher() -> None:
    """End this process, as SIGTERM does, once the launcher that started it is gone; see `LIFELINE`."""

    def wait() -> None:
        while os.read(0, 1 << 10):
            pass
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(_GRACE_SECONDS)
        last_words.note(done=True)  # cut off, not failed: the next sweep goes on from the newest checkpoint
        os._exit(1)

    if os.environ.pop(LIFELINE, ""):
        threading.Thread(target=wait, daemon=True).start()


@contextlib.contextmanager
def handled(numbers: Sequence[int], handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Have a function called for these signals while the context is open, but for those that are ignored.

    Outside the main thread, which alone gets signals, do nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    heard = [number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN]
    previous = {number: signal.signal(number, handler) for number in heard}
    try:
        yield
    finally:
        for number, former in previous.items():
            signal.signal(number, former)
