"""What became of the checks."""

from __future__ import annotations

import traceback
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

import ncbench
from ncbench.conformance.subject import Check, ConformanceError, Skipped
from ncbench.contracts.errors import described

_NOT_THE_PLUGINS = tuple(Path(str(package.__file__)).parent for package in (ncbench, torch))

Status = Literal["passed", "failed", "skipped", "failed as expected", "passed unexpectedly"]


@dataclass(frozen=True)
class Outcome:
    """What became of one check.

    Args:
        check: Its name.
        status: ``"passed unexpectedly"`` if a failure was expected.
        reason: One line: why it failed or was skipped, or why a failure was expected; empty if it passed.
    """

    check: str
    status: Status
    reason: str = ""

    def __str__(self) -> str:
        return f"{self.status:<8} {self.check}" + (f": {self.reason}" if self.reason else "")


@dataclass(frozen=True)
class Report:
    """What became of every check of one plugin.

    Args:
        subject: For example ``"the method erm"``.
        outcomes: One a check.
    """

    subject: str
    outcomes: tuple[Outcome, ...]

    def count(self, status: Status) -> int:
        """Return how many checks ended this way."""
        return Counter(outcome.status for outcome in self.outcomes)[status]

    @property
    def run(self) -> int:
        """How many checks were run, that is, not skipped."""
        return len(self.outcomes) - self.count("skipped")

    @property
    def ok(self) -> bool:
        """Whether checks were run, none failed, and every expected failure failed."""
        return self.run > 0 and self.count("failed") == 0 and self.count("passed unexpectedly") == 0

    @property
    def summary(self) -> str:
        """The counts, in one line."""
        parts = [f"{self.run} run", f"{self.count('passed')} passed", f"{self.count('failed')} failed"]
        parts += [f"{self.count('skipped')} skipped", f"{self.count('failed as expected')} failed as expected"]
        if unexpected := self.count("passed unexpectedly"):
            parts.append(f"{unexpected} passed unexpectedly")
        nothing = "" if self.run else " Nothing was checked, which is a failure."
        return f"{len(self.outcomes)} checks of {self.subject}: {', '.join(parts)}.{nothing}"

    def __str__(self) -> str:
        return "\n".join([*map(str, self.outcomes), self.summary])


def outcomes(checks: Iterable[Check], expected_failures: Mapping[str, str]) -> Iterator[Outcome]:
    """Run checks one after the other.

    Args:
        checks: The checks.
        expected_failures: Name of a check -> why it is known to fail.

    Yields:
        The outcome of each, as soon as it is known.
    """
    for check in checks:
        expected = expected_failures.get(check.name)
        try:
            check()
        except Skipped as skipped:
            yield Outcome(check.name, "skipped", str(skipped))
        except (Exception, SystemExit) as error:  # a plugin may fail in any way
            failed = Outcome(check.name, "failed", _reason(error))
            yield failed if expected is None else Outcome(check.name, "failed as expected", expected)
        else:
            passed = Outcome(check.name, "passed")
            yield passed if expected is None else Outcome(check.name, "passed unexpectedly", f"expected: {expected}")


def _reason(error: BaseException) -> str:
    if isinstance(error, ConformanceError):
        return " ".join(str(error).split())
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if not any(map(Path(frame.filename).is_relative_to, _NOT_THE_PLUGINS))]
    last = (own or frames)[-1]  # the plugin's own line says the most
    return f"{described(error)} ({Path(last.filename).name}, line {last.lineno}, in {last.name})"
