"""What happens on the nodes of a cluster: they are asked what they lack, and make attempts at runs."""

from __future__ import annotations

import asyncio
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ncbench_launchers.processes import New
from ncbench_launchers.shared import other_versions, unseen

_POLL_SECONDS = 0.1


@dataclass(frozen=True)
class Demands:
    """What a node needs to make runs of a sweep.

    Args:
        folder: Where the sweep has left its probe, in the output folder's ``.launch``.
        word: The probe's.
        versions: The sweep's.
    """

    folder: Path
    word: str
    versions: Mapping[str, str]

    def lacking(self) -> str:
        """Return in one line what this node lacks; empty if nothing."""
        return unseen(self.folder, self.word, self.folder.parents[1]) or other_versions(self.versions)


class Attempt:
    """An attempt at a run, in a process that is killed when this one ends: an actor, whose calls may come together.

    Args:
        demands: What the node needs. It may have joined after all nodes were asked.
        arguments: Of ``ncbench run``.
        environment: Variables, beside those of the node.
    """

    def __init__(self, demands: Demands, arguments: Sequence[str], environment: Mapping[str, str]) -> None:
        self._problem = demands.lacking()
        self._process = _Mortal({**os.environ, **environment})
        if not self._problem:
            self._process.start(arguments)

    async def place(self) -> str:
        """Return where the run is; empty if it cannot be made here."""
        return "" if self._problem else f"{platform.node()}, process {self._process.process}"

    async def end(self) -> tuple[int, str]:
        """Return exit code and last line of the run, once it has ended."""
        if self._problem:
            return 2, self._problem
        while (end := self._process.ended()) is None:
            await asyncio.sleep(_POLL_SECONDS)
        return end

    async def interrupt(self) -> None:
        """Ask the run to end so that it can be resumed."""
        self._process.interrupt()


class _Mortal(New):
    """A run that is killed when this process ends."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        super().__init__("", environment)
        self._command = ("ncbench_launchers.ray.child", str(os.getpid()))
