"""Searches: settings drawn at random for every method alike, of which validation metrics choose one."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Annotated, Any

from pydantic import BeforeValidator, field_validator

from ncbench.contracts.errors import ConfigurationError, DataError
from ncbench.contracts.parameters import Values, draws
from ncbench.contracts.specs import ATTRIBUTE, Scalar, format_scalar
from ncbench.data.files import Part
from ncbench.data.store.prepare import locate
from ncbench.launch.member import Member, Pair
from ncbench.launch.sweep import Sweep
from ncbench.records.record import DrawSeed, SearchPart, Space, Trials, TrialSeeds
from ncbench.training.configuration import Configuration
from ncbench.training.selection import Criterion, find_criterion, refuse_unfit_criterion

NOT_MADE = "not made"
TO_MAKE = frozenset({NOT_MADE, "failed"})
"""Why a trial cannot be chosen yet: a sweep makes failed runs anew, and what made one fail may have gone by then."""


def _none_for_default(space: Any) -> Any:
    return None if space == "default" else space


class Search(Part):
    """Random search: every method, dataset and point of the grid of a block gets the same number of trials.

    Args:
        trials: How many, from 2 to 1000.
        seed: Of the draws.
        space: Setting -> the values it may take, or bounds; None, written ``default``, for each method's own.
        select: The criterion, ``val_<metric>``.
        seeds: Of the trials; the one with the best mean is chosen.
    """

    trials: Trials
    seed: DrawSeed = 0
    space: Annotated[Space | None, BeforeValidator(_none_for_default)] = None
    select: str
    seeds: TrialSeeds = (0,)

    @field_validator("select")
    @classmethod
    def _is_of_validation(cls, name: str) -> str:
        if find_criterion(name).metric is None:
            raise ConfigurationError(f"search.select={name} is no metric of the validation split, as val_accuracy is.")
        return name

    def tuning(
        self,
        pair: Pair,
        settings: Mapping[str, Scalar],
        point: Mapping[str, Scalar],
        space: Mapping[str, Values],
        seeds: Sequence[int],
    ) -> Tuning:
        """Return the search of one method on one dataset.

        Args:
            pair: The two.
            settings: That all its runs have.
            point: Those of them that its point of the grid gives.
            space: What is searched.
            seeds: Of the runs of the chosen setting.

        Raises:
            ConfigurationError: Whatever would refuse the runs of a setting, were it chosen.
        """
        first = draws(space, 1, self.seed)[0]
        claim = SearchPart.read(
            {
                "trials": self.trials,
                "seed": self.seed,
                "seeds": self.seeds,
                "space": dict(space),
                "space_given": self.space is not None,
                "criterion": self.select,
                "chosen": first,
            }
        )
        trials = []
        for drawn in claim.drawn():
            runs = [pair.members(seed, {**settings, **drawn}) for seed in self.seeds]
            trials.append(Trial(drawn, [*itertools.chain(*runs)], [members[-1].job.run_id for members in runs]))
            made = runs[0][-1].configuration
            of_trial = claim.model_copy(update={"chosen": drawn})
            if (wrong := of_trial.unlike(made.method.params.as_dict(), made.settings)) is not None:
                raise ConfigurationError("search.space: {}: {}.".format(*wrong))

        def chosen(drawn: Mapping[str, Scalar]) -> list[Member]:
            search = claim.model_copy(update={"chosen": drawn})
            return [member for seed in seeds for member in pair.members(seed, {**settings, **drawn}, search)]

        chosen(first)  # so that no seed is refused when the trials are made
        return Tuning(pair, point, self.select, trials, chosen, len(seeds))


@dataclass(frozen=True)
class Trial:
    """One draw.

    Args:
        drawn: Its settings.
        members: Its runs, one a seed, and those that they build on.
        run_ids: Of its own runs.
    """

    drawn: Mapping[str, Scalar]
    members: Sequence[Member]
    run_ids: Sequence[str]

    def __str__(self) -> str:
        return ", ".join(f"{key.removeprefix('recipe.')}={format_scalar(value)}" for key, value in self.drawn.items())


@dataclass(frozen=True)
class Tuning:
    """The search of one method on one dataset at one point of the grid.

    What it chooses follows from the records of its trials alone.

    Args:
        pair: The method and the dataset.
        point: Its point of the grid.
        rule: The criterion's name.
        trials: In the order in which they are drawn.
        runs: Settings that are chosen -> the runs with them.
        seeds: How many of these there are.
    """

    pair: Pair
    point: Mapping[str, Scalar]
    rule: str
    trials: Sequence[Trial]
    runs: Callable[[Mapping[str, Scalar]], Sequence[Member]]
    seeds: int

    @property
    def name(self) -> str:
        """What tells it from the other searches of its suite."""
        settings = "".join(f", {key}={format_scalar(value)}" for key, value in self.point.items())
        groups = "" if self.pair.groups == ATTRIBUTE else f" with groups of {self.pair.groups}"
        return f"{self.pair.method}{groups} on {self.pair.dataset}{settings}"

    @property
    def metric(self) -> str:
        """What is compared, of the validation split."""
        return str(self._criterion.metric)

    @property
    def tie_break(self) -> str | None:
        """The metric of the validation split that tells equal trials apart; None where it is that of the criterion."""
        return None if self._criterion.tie_break == self.metric else self._criterion.tie_break

    @property
    def _criterion(self) -> Criterion:
        return find_criterion(self.rule)

    def refuse_unfit(self, data_root: Path | None) -> None:
        """Refuse a criterion that the dataset does not allow, or a method that fits on what would choose its settings.

        Data that are not there are no matter here: the sweep says what cannot be made without them.

        Raises:
            ConfigurationError: There is no validation split, or no bias labels; the message says what would work. Or
                the method reads the bias labels of validation images, so that these are not held out.
        """
        configuration = self.trials[0].members[-1].configuration
        if configuration.supervision.val == "bias":
            raise ConfigurationError(
                f"{self.pair.method} fits on the validation images, so that {self.rule} cannot choose its settings. "
                f"Give it a block of its own, without a search."
            )
        refuse_unfit_search(self.rule, configuration, data_root)

    def score(self, trial: Trial, made: Sweep) -> tuple[float, float] | str:
        """Return how good a trial is and what breaks ties, larger is better; or why it cannot be chosen, in short."""
        if any(made.runs[member.job.run_id].state == "diverged" for member in trial.members):
            return "diverged"
        ranks = []
        for run in (made.runs[run_id] for run_id in trial.run_ids):
            if run.result is None or run.state != "completed":
                return run.state if run.state in TO_MAKE else NOT_MADE
            if "val" in run.result.record.fitted:
                return "fitted on validation images"
            rank = self._criterion.rank(0, run.result.record.metrics.get("val", {}))
            if rank is None:
                return f"without {self.rule}"
            ranks.append(rank)
        return fmean(rank[0] for rank in ranks), fmean(rank[1] for rank in ranks)

    def value(self, trial: Trial, made: Sweep) -> float | str:
        """Return the mean of the metric over a trial's runs; or why it cannot be chosen, in short."""
        score = self.score(trial, made)
        return score if isinstance(score, str) else self._criterion.sign * score[0]

    def smallest_group(self, made: Sweep) -> int | None:
        """Return how many validation images the smallest group has by which is chosen; None if no groups matter."""
        results = (made.runs[run_id].result for trial in self.trials for run_id in trial.run_ids)
        noted = (result.record.selection.get(self.rule) for result in results if result is not None)
        return next((each.smallest_group for each in noted if each is not None), None)

    def chosen(self, made: Sweep) -> Trial | None:
        """Return the best trial, of equals the first drawn; None if some are still to be made, or none can be chosen.

        Args:
            made: The trials.
        """
        scores = [(self.score(trial, made), trial) for trial in self.trials]
        able = [(score, trial) for score, trial in scores if not isinstance(score, str)]
        if not able or any(score in TO_MAKE for score, _ in scores):
            return None
        return max(able, key=lambda each: each[0])[1]

    def members(self, made: Sweep) -> Sequence[Member]:
        """Return the runs of the chosen setting, after those that they build on; none where none is chosen."""
        trial = self.chosen(made)
        return [] if trial is None else self.runs(trial.drawn)


def refuse_unfit_search(rule: str, configuration: Configuration, data_root: Path | None) -> None:
    """Refuse a criterion that the dataset of a run does not allow, before anything is decoded or trained.

    Raises:
        ConfigurationError: As :meth:`Tuning.refuse_unfit`.
    """
    dataset = configuration.dataset
    with contextlib.suppress(DataError):
        found = locate(dataset.registered.card, dataset.params, configuration.manifest, data_root=data_root)
        refuse_unfit_criterion(rule, f"search.select={rule}", found, dataset.spec, configuration.annotates_val)


def in_turns(tunings: Sequence[Tuning]) -> list[Member]:
    """Return the runs of all trials, the first trial of every search first: cut short, all have made as many."""
    rounds = itertools.zip_longest(*(tuning.trials for tuning in tunings))
    return [member for turn in rounds for trial in turn if trial is not None for member in trial.members]
