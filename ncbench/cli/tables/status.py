"""How a sweep stands, in lines."""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Iterator

from ncbench.cli.tables.sweep import describe
from ncbench.launch.status import seconds_left, under_way
from ncbench.launch.sweep import Sweep


def status_lines(sweep: Sweep, what: str) -> Iterator[str]:
    """Yield how many of its runs are in which state, a line for each that runs or has failed, and the time left."""
    running = under_way(sweep)
    names = {id(each.run) for each in running}
    states = Counter("running" if id(run) in names else run.state for run in sweep.runs.values())
    yield f"{len(sweep.runs)} {what}: {', '.join(f'{count} {state}' for state, count in sorted(states.items()))}"
    now = datetime.datetime.now(datetime.UTC)
    for each in running:
        far = f"epoch {each.epoch} of {each.epochs}" if each.epochs else "before its first epoch is done"
        heard = f"heard of {_text((now - each.heard).total_seconds())} ago"
        place = f"process {each.process} on {each.host}"
        yield f"running  {describe(each.run.member.job, sweep)}: {far}, {place}, {heard}"
    for run in sweep.runs.values():
        if run.state == "failed" and run.result is not None and id(run) not in names:
            yield f"failed   {describe(run.member.job, sweep)}: {run.result.record.reason}"
    if (left := seconds_left(sweep, running)) is not None:
        yield f"About {_text(left)} left, {len(running)} at a time."


def _text(seconds: float) -> str:
    for unit, size in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"
