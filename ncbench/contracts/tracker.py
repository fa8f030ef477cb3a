"""The contract of a tracker: it shows runs somewhere else while they train, and keeps there what came of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from ncbench.contracts.parameters import Parameters


class Tracker:
    """Follows the runs of a command, one after the other.

    What it raises is said in one line, after which it is asked nothing more and the run goes on. No result and no run
    id depends on it or on its parameters, and it may draw from any generator: every epoch seeds them anew.

    Args:
        params: Validated parameters.

    Raises:
        NcbenchError: It cannot work here, such as for want of a package or of a server; the message says what to do.
    """

    Parameters: ClassVar[type[Parameters]] = Parameters

    def __init__(self, params: Any) -> None:
        self.params = params

    def start(self, run_id: str, settings: Mapping[str, Any], folder: Path, done: int) -> str:
        """Begin to follow a run, once it is clear that it can begin.

        Args:
            run_id: Its identifier, which is also to be its name there.
            settings: What makes the run what it is, by ``"method"``, ``"seed"``, ``"recipe.lr"`` and so on.
            folder: The run's folder.
            done: Epochs that are done already, of a run that was cut off and goes on, as it should there too; 0 for one
                that starts anew, whatever has gone by this name before.

        Returns:
            Where a person can look at it, for a line of text; empty if there is nothing to say.
        """
        raise NotImplementedError

    def epoch(self, number: int, numbers: Mapping[str, float]) -> None:
        """Keep the figures of a finished epoch.

        Epochs between the last checkpoint and the end of an earlier attempt come a second time, with the same figures.

        Args:
            number: The epoch, counted from 1 over all stages.
            numbers: The finite ones by name: ``"lr"``, ``"losses/NAME"``, and ``"SPLIT/NAME"`` of the metrics.
        """
        raise NotImplementedError

    def finish(self, status: str, numbers: Mapping[str, float], record: Path | None) -> None:
        """Keep what came of the run, and be ready to follow another one.

        Args:
            status: That of the record; one that was ``"interrupted"`` or ``"failed"`` may be resumed.
            numbers: The metrics at the epoch that was chosen, as ``"final/SPLIT/NAME"``.
            record: The record's file; None of a run that ended without one.
        """
        raise NotImplementedError
