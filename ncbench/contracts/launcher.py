"""The contract of a launcher: it makes the runs of a sweep, somewhere."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass

from ncbench.contracts.specs import Scalar, format_scalar


@dataclass(frozen=True)
class Job:
    """One run that is still to be made.

    Args:
        run_id: Identifier of the run, and name of its folder.
        method: Spec.
        dataset: Spec.
        backbone: Spec, or None for the published or the dataset's default.
        seed: The seed.
        settings: Changes to the recipe, by ``recipe.KEY``.
        anew: Whether what an earlier attempt left is discarded; otherwise its checkpoints are gone on from.
        allow_mismatch: Whether data that are not the released ones are gone on with.
    """

    run_id: str
    method: str
    dataset: str
    backbone: str | None
    seed: int
    settings: Mapping[str, Scalar]
    anew: bool = False
    allow_mismatch: bool = False

    def arguments(self) -> list[str]:
        """Return the arguments of ``ncbench run`` that make this run, but for where its folder goes."""
        named = ["--method", self.method, "--dataset", self.dataset]
        named += ["--backbone", self.backbone] if self.backbone else []
        settings = [part for key, value in self.settings.items() for part in ("--set", f"{key}={format_scalar(value)}")]
        mismatch = ["--allow-mismatch"] if self.allow_mismatch else []
        return [*named, "--seed", str(self.seed), *settings, *mismatch, "--force" if self.anew else "--resume"]


@dataclass(frozen=True)
class Started:
    """A job's run has begun."""

    job: Job


@dataclass(frozen=True)
class Ended:
    """A job's run is over.

    Args:
        job: The job.
        exit_code: Of ``ncbench run``; negative for the number of the signal that ended it.
        message: The last line it wrote to standard error; empty if none.
    """

    job: Job
    exit_code: int
    message: str


class Launcher:
    """Makes runs, several at a time.

    Args:
        workers: How many runs at a time; 0 lets the launcher decide.
        device: As ``ncbench run --device``.
    """

    def __init__(self, workers: int, device: str) -> None:
        self.workers = workers
        self.device = device

    def launch(self, jobs: Sequence[Job], arguments: Sequence[str]) -> Generator[Started | Ended, None, None]:
        """Make every run, and tell when one starts and ends.

        A run that fails ends with its exit code and the others go on. When the generator is closed early, runs that are
        under way are interrupted in a way that lets them be resumed, before `close` returns.

        Args:
            jobs: The runs, in the order to start them in.
            arguments: Further arguments of ``ncbench run`` that all of them share, such as ``--output``.
        """
        raise NotImplementedError
