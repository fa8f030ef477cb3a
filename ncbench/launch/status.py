"""How a sweep stands, whoever makes it: what runs where, how far it is, and how long the rest will take."""

from __future__ import annotations

import datetime
import json
import platform
import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ncbench.data.files import alive
from ncbench.launch.sweep import Run, Sweep
from ncbench.records.folder import FINISHED, LOG_FILE


@dataclass(frozen=True)
class UnderWay:
    """A run that a process is making, or was making when it was killed.

    Args:
        run: Which.
        host: Where the process is.
        process: Its number there.
        epoch: Epochs done.
        epochs: Epochs in all; 0 before the first is done.
        heard: When it last wrote to its log.
        killed: Whether the process is no more; of one on another host that cannot be seen.
    """

    run: Run
    host: str
    process: int
    epoch: int
    epochs: int
    heard: datetime.datetime
    killed: bool


def under_way(sweep: Sweep) -> list[UnderWay]:
    """Return the runs that were begun and have not ended, by their logs."""
    found = (_under_way(run, sweep.output / name / LOG_FILE) for name, run in sweep.runs.items())
    return [each for each in found if each is not None]


def _under_way(run: Run, log: Path) -> UnderWay | None:
    lines = list(_lines(log)) if log.exists() and run.state not in FINISHED else []
    starts = [place for place, line in enumerate(lines) if line.get("event") in ("started", "resumed")]
    attempt = lines[starts[-1] :] if starts else []
    if not attempt or attempt[-1].get("event") == "ended" or "process" not in attempt[0]:
        return None
    host, process = attempt[0]["host"], attempt[0]["process"]
    heard = datetime.datetime.fromisoformat(attempt[-1]["time"])
    killed = host == platform.node() and not alive(process)
    # One that has just been resumed is as far as the attempt before.
    known = lines if attempt[0]["event"] == "resumed" else attempt
    last: dict[str, Any] = next((line for line in reversed(known) if "epochs" in line), {})
    return UnderWay(run, host, process, last.get("epoch", 0), last.get("epochs", 0), heard, killed)


def _lines(log: Path) -> Iterator[dict[str, Any]]:
    for line in log.read_text(encoding="utf-8").splitlines():
        try:
            yield json.loads(line)
        except ValueError:  # it is being written just now
            return


def seconds_left(sweep: Sweep, running: list[UnderWay]) -> float | None:
    """Return how long the rest takes with as many runs at a time as now; None where nothing tells.

    A run is taken to last as long as those of its method and dataset have, or as all have where none of these is made.
    """
    took: dict[tuple[str, str], list[float]] = {}
    for run in sweep.runs.values():
        if run.result is not None and run.state == "completed":
            timing = run.result.record.timing
            seconds = timing.get("train_seconds", 0) + timing.get("evaluate_seconds", 0)
            took.setdefault(_kind(run), []).append(seconds)
    if not took or not running:
        return None
    every = statistics.fmean(seconds for each in took.values() for seconds in each)
    done = {id(each.run): each.epoch / each.epochs for each in running if each.epochs}
    rest = (
        (1 - done.get(id(run), 0)) * (statistics.fmean(took[_kind(run)]) if _kind(run) in took else every)
        for run in sweep.unfinished
    )
    return sum(rest) / len(running)


def _kind(run: Run) -> tuple[str, str]:
    return run.member.job.method, run.member.job.dataset
