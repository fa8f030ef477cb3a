"""Trackers beside a run: what they are told, and how the run goes on without one that fails."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ncbench.contracts.cards import stdout_to_stderr
from ncbench.contracts.errors import NcbenchError, PluginError, described
from ncbench.contracts.specs import Spec
from ncbench.contracts.tracker import Tracker
from ncbench.discovery.registry import registry

_WHERE_TO_CUT = re.compile(r".{,499}[.!?](?= )|.{1,500}(?= )|.{500}")  # after a sentence, else after a word


class Tracking:
    """The trackers of a command, which are told of one run after the other.

    One that cannot be used, or fails, is left out from then on.

    Args:
        track: Specs of trackers, for example ``["tensorboard", "wandb:project=shortcuts"]``, or one.
        warn: Told, in one line, which is left out and why.

    Raises:
        ConfigurationError: A name, key or value is not valid.
        PluginError: A plugin breaks its contract.
    """

    def __init__(self, track: str | Sequence[str], warn: Callable[[str], None]) -> None:
        self._warn = warn
        self._log: Callable[..., None] | None = None
        self._trackers: dict[str, Tracker] = {}
        self._left_out: dict[str, str] = {}  # the reasons, by spec
        self._following = False
        for text in [track] if isinstance(track, str) else track:
            spec = Spec.parse(text)
            registered = registry().find("trackers", spec.name)
            try:
                kind = registered.load()
            except PluginError as error:  # most likely, what it imports is not installed
                self._leave_out(str(spec), error)
                continue
            if not (isinstance(kind, type) and issubclass(kind, Tracker)):
                raise PluginError(f"The factory of the tracker {spec.name!r} is not a subclass of ncbench.Tracker.")
            params = kind.Parameters.build(spec.parameters, owner=spec.name)
            if (tracker := self._attempt(str(spec), kind, params)) is not None:
                self._trackers[str(spec)] = tracker

    @property
    def specs(self) -> list[str]:
        """Those that are in use."""
        return list(self._trackers)

    def start(self, known: Mapping[str, Any], folder: Path, done: int, log: Callable[..., None]) -> None:
        """Begin to follow a run.

        Args:
            known: The part of its record that is known before it starts.
            folder: Its folder.
            done: Epochs that an earlier attempt left.
            log: Appends an event, with what belongs to it, to the run's log: where the run can be looked at, and which
                tracker is left out and why, also of those that were before.
        """
        self._log, self._following = log, True
        for spec, reason in self._left_out.items():
            log("tracker_left_out", tracker=spec, reason=reason)
        settings = _settings(known)
        for spec, tracker in list(self._trackers.items()):
            place = self._attempt(spec, tracker.start, known["run_id"], settings, folder, done)
            if place:
                line = f"{spec} tracks this run: {place}"
                log("tracking", text=line)
                self._warn(line)

    def epoch(self, entry: Mapping[str, Any]) -> None:
        """Tell of a finished epoch; `entry` is its part of the history."""
        numbers = _by_name({"losses": entry["losses"], **entry["metrics"]}, lr=entry["lr"])
        for spec, tracker in list(self._trackers.items()):
            self._attempt(spec, tracker.epoch, entry["epoch"], numbers)

    def finish(
        self, status: str, metrics: Mapping[str, Mapping[str, float]] | None = None, record: Path | None = None
    ) -> None:
        """Tell of the end of the run, if one is followed."""
        if not self._following:
            return
        self._following = False
        numbers = _by_name({f"final/{split}": values for split, values in (metrics or {}).items()})
        for spec, tracker in list(self._trackers.items()):
            self._attempt(spec, tracker.finish, status, numbers, record)

    def _attempt(self, spec: str, action: Callable[..., Any], *arguments: Any) -> Any:
        """Return what a tracker returns; None of one that fails, and is asked nothing more."""
        try:
            with stdout_to_stderr():
                return action(*arguments)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # a plugin may fail in any way; the run must not
            self._leave_out(spec, error)
            return None

    def _leave_out(self, spec: str, error: BaseException) -> None:
        self._trackers.pop(spec, None)
        reason = str(error) if isinstance(error, NcbenchError) else described(error)
        self._left_out[spec] = reason
        if self._log is not None:
            self._log("tracker_left_out", tracker=spec, reason=reason)
        self._warn(f"{spec} is left out, and the run goes on without it: {_shortened(reason)}")


def _shortened(reason: str) -> str:
    cut = _WHERE_TO_CUT.match(reason) if len(reason) > 500 else None
    return reason if cut is None else f"{cut[0]} ..."


def _by_name(parts: Mapping[str, Mapping[str, float | None]], **others: float) -> dict[str, float]:
    """Return the finite numbers, by ``PART/NAME``: a viewer takes no others."""
    numbers = others | {f"{part}/{name}": value for part, values in parts.items() for name, value in values.items()}
    return {name: value for name, value in numbers.items() if value is not None and math.isfinite(value)}


def _settings(known: Mapping[str, Any]) -> dict[str, Any]:
    """Return a run's settings by name, where they have one as ``--set`` has it."""
    groups, base = known["groups_from"], known["base"]
    settings = {part: known[part]["spec"] for part in ("method", "dataset", "backbone")}
    settings |= {"groups": groups and groups["spec"], "base": base and base["run_id"], "seed": known["seed"]}
    for part in ("method", "dataset", "backbone"):
        settings |= {f"{part}.{key}": value for key, value in known[part]["parameters"].items()}
    return settings | {f"recipe.{key}": value for key, value in known["recipe"].items()}
