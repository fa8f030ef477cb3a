"""How a sweep stands, in lines."""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Iterator

from ncbench.cli.tables.sweep import describe
from ncbench.launch.status import UnderWay, seconds_left, under_way
from ncbench.launch.sweep import Sweep


def status_lines(sweep: Sweep, what: str) -> Iterator[str]:
    """Yield how many runs are in which state, a line for each that runs or did not get through, and the time left."""
    begun = under_way(sweep)
    running, cut_short = ([each for each in begun if each.killed is killed] for killed in (False, True))
    now_is = {id(each.run): "cut short" if each.killed else "running" for each in begun}
    states = Counter(now_is.get(id(run), run.state) for run in sweep.runs.values())
    yield f"{len(sweep.runs)} {what}: {', '.join(f'{count} {state}' for state, count in sorted(states.items()))}"
    for each in running:
        heard = f"heard of {_text((datetime.datetime.now(datetime.UTC) - each.heard).total_seconds())} ago"
        place = f"process {each.process} on {each.host}"
        yield f"running    {describe(each.run.member.job, sweep)}: {_far(each)}, {place}, {heard}"
    for each in cut_short:
        yield f"cut short  {describe(each.run.member.job, sweep)}: {_far(each)}; start the sweep again to go on with it"
    for run in sweep.runs.values():
        if run.state == "failed" and run.result is not None and id(run) not in now_is:
            yield f"failed     {describe(run.member.job, sweep)}: {run.result.record.reason}"
    if (left := seconds_left(sweep, running)) is not None:
        yield f"About {_text(left)} left, {len(running)} at a time."


def _far(run: UnderWay) -> str:
    return f"epoch {run.epoch} of {run.epochs}" if run.epochs else "before its first epoch is done"


def _text(seconds: float) -> str:
    for unit, size in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"
