"""One attempt at a run, as a step of a job of Slurm: ``python -m ncbench_launchers.slurm.step FOLDER WORD``.

What Slurm sends reaches the run, too, which ends with a checkpoint. What happens then is for this process to say:

- SIGUSR1, before the time limit: the job is put back into the queue.
- SIGTERM, at the start of a preemption's grace, and by ``scancel``: this process stays until it is killed. A job that
  ends within that grace counts as over; one that Slurm has to end is requeued by it if it was preempted, and stays
  ended if it was cancelled.
- SIGINT, from the launcher when it is closed: the job ends.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Any

from ncbench_launchers.shared import other_versions, unseen
from ncbench_launchers.slurm.array import JOBS_FILE, Element
from ncbench_launchers.slurm.commands import SlurmError, requeue

LIMITS_IN_VAIN = 3
_INTERRUPTED = 130
_POLL_SECONDS = 0.1
_LAST_WORDS_SECONDS = 10
_MARGIN_SECONDS = 15  # before the time limit, in which the job is requeued
_TELLING = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


class Step:
    """An attempt.

    Args:
        element: Of what.
        jobs: What the array's file says.
    """

    def __init__(self, element: Element, jobs: dict[str, Any]) -> None:
        self.element = element
        self.jobs = jobs
        self.job = jobs["jobs"][element.index]
        self.told = set[int]()
        for number in _TELLING:
            signal.signal(number, self._hear)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        self.told.add(number)

    def make(self) -> int:
        """Make the attempt, and return the exit code of the job."""
        attempt, in_vain = self.element.attempts()
        self.element.note_attempts(attempt + 1, in_vain)
        self.element.forget_end()
        before = self._newest_checkpoint()
        code, line = self._run(self.job["again" if attempt else "first"])
        if -code in _TELLING:  # it was told before it could hear: nothing is lost
            code = _INTERRUPTED
        if signal.SIGUSR1 in self.told and code in (_INTERRUPTED, -signal.SIGKILL):
            in_vain = 0 if self._newest_checkpoint() != before else in_vain + 1
            self.element.note_attempts(attempt + 1, in_vain)
            if in_vain == LIMITS_IN_VAIN:
                code, line = 1, f"An epoch takes longer than the time limit, tried {in_vain} times; give more hours."
            elif not self.told - {signal.SIGUSR1}:
                return self._requeue()
            else:
                code = _INTERRUPTED
        self.element.note_end(code, line)
        if code == _INTERRUPTED and signal.SIGTERM in self.told:
            self._stay()
        return code if code >= 0 else 128 - code

    def _run(self, arguments: list[str]) -> tuple[int, str]:
        """Return exit code and last line of ``ncbench run``."""
        environment = {**os.environ, "NCBENCH_LIFELINE": "1"}
        if cpus := os.environ.get("SLURM_CPUS_PER_TASK"):
            environment.setdefault("OMP_NUM_THREADS", str(max(1, int(cpus) // self.jobs["devices"])))
        command = [sys.executable, "-P", "-m", "ncbench", "run", *arguments]
        last = b""
        with subprocess.Popen(  # noqa: S603 (our own command, no shell)
            command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
        ) as run:
            assert run.stderr is not None
            errors = run.stderr

            def copy() -> None:
                nonlocal last
                for line in errors:
                    last = line.strip() or last
                    sys.stderr.buffer.write(line)
                    sys.stderr.buffer.flush()

            copying = threading.Thread(target=copy, daemon=True)
            copying.start()
            deadline = None
            while run.poll() is None:
                if self.told and deadline is None:
                    run.terminate()  # it may have begun after the signal came
                    deadline = time.monotonic() + self.jobs["grace"] - _MARGIN_SECONDS
                if deadline is not None and time.monotonic() > deadline and signal.SIGUSR1 in self.told:
                    run.kill()  # while there is time to requeue; the checkpoints that it has are kept
                time.sleep(_POLL_SECONDS)
            copying.join(_LAST_WORDS_SECONDS)  # something that it has started may hold the pipe open
        return run.returncode, last.decode(errors="replace")

    def _newest_checkpoint(self) -> int:
        checkpoints = Path(self.jobs["output"], self.job["run_id"], "checkpoints").glob("*.pt")
        return max((path.stat().st_mtime_ns for path in checkpoints), default=0)

    def _requeue(self) -> int:
        try:
            requeue(self.element.name)
        except SlurmError as error:
            self.element.note_end(_INTERRUPTED, str(error))
            return _INTERRUPTED
        self._stay()
        return _INTERRUPTED

    def _stay(self) -> None:
        while signal.SIGINT not in self.told:
            time.sleep(_POLL_SECONDS)


def main() -> int:
    """Make an attempt at the element that this step is of, unless this node cannot."""
    folder, word = Path(sys.argv[1]), sys.argv[2]
    element = Element(folder, os.environ["SLURM_ARRAY_JOB_ID"], int(os.environ["SLURM_ARRAY_TASK_ID"]))
    output = folder.parents[1]
    problem = unseen(folder, word, output)
    if problem:  # nobody would read it here
        print(problem, file=sys.stderr)
        return 2
    jobs = json.loads((folder / JOBS_FILE).read_text(encoding="utf-8"))
    if problem := other_versions(jobs["versions"]):
        element.note_end(2, problem)
        return 2
    return Step(element, jobs).make()


if __name__ == "__main__":
    sys.exit(main())
