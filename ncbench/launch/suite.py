"""Suites: which runs belong together, in a YAML file."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import pydantic
from pydantic import Field

from ncbench.contracts.errors import ConfigurationError, name_offenders
from ncbench.contracts.groups import ATTRIBUTE
from ncbench.contracts.launcher import Job
from ncbench.contracts.specs import Scalar, Spec, read_yaml
from ncbench.data.files import Part, faults
from ncbench.launch.search import Search
from ncbench.training.configuration import Configuration, base_settings, resolve


class Block(Part):
    """All combinations of methods, groups, datasets, settings and seeds.

    Settings are named as on the command line, ``recipe.KEY``, or ``method.KEY`` for a parameter of every method here.

    Args:
        methods: Specs.
        datasets: Specs.
        seeds: The seeds.
        groups: What the groups are of that the methods train on: ``attribute``, or specs of ways to infer them.
        backbone: Spec; the published one or the dataset's if left out.
        settings: The same for all runs.
        grid: Setting -> the values to try, in all combinations.
        search: Settings drawn at random, for each point of the grid.
    """

    methods: tuple[str, ...] = Field(min_length=1)
    datasets: tuple[str, ...] = Field(min_length=1)
    seeds: tuple[Annotated[int, Field(ge=0)], ...] = Field(min_length=1)
    groups: tuple[str, ...] = Field((ATTRIBUTE,), min_length=1)
    backbone: str | None = None
    settings: Mapping[str, Scalar] = Field(default_factory=dict)
    grid: Mapping[str, Annotated[tuple[Scalar, ...], Field(min_length=1)]] = Field(default_factory=dict)
    search: Search | None = None

    def points(self) -> Iterator[dict[str, Scalar]]:
        """Yield the settings of every point of grid and search."""
        draws = [{}] if self.search is None else list(self.search.draws())
        for values in itertools.product(*self.grid.values()):
            for drawn in draws:
                yield {**self.settings, **dict(zip(self.grid, values, strict=True)), **drawn}


@dataclass(frozen=True)
class Member:
    """One run of a suite: what it is, and the job that makes it."""

    configuration: Configuration
    job: Job


class Suite(Part):
    """A suite.

    Args:
        title: What it is called.
        description: What it shows and with what budget of epochs; a smaller one than published is named as such.
        runs: Its blocks.
    """

    title: str
    description: str
    runs: tuple[Block, ...] = Field(min_length=1)

    def members(self, allow_mismatch: bool = False) -> list[Member]:
        """Return every run once, seed by seed, so that a sweep cut short has compared all methods; bases come first.

        Args:
            allow_mismatch: As for :func:`ncbench.run`; such runs are others, with ids of their own.

        Raises:
            ConfigurationError: A name, key or value is not valid.
            PluginError: A plugin cannot be imported.
        """
        found: dict[str, Member] = {}
        for block in self.runs:
            points = list(block.points())
            axes = block.seeds, block.datasets, block.methods, block.groups, points
            for seed, dataset, method, groups, point in itertools.product(*axes):
                recipe = {key: value for key, value in point.items() if not key.startswith("method.")}
                parameters = {key.removeprefix("method."): point[key] for key in point.keys() - recipe.keys()}
                spec = Spec.parse(method)
                # As given, not canonical: a value that is the parameter's default may stand against a published one.
                given = str(Spec(spec.name, {**spec.parameters, **parameters}))
                configuration = resolve(
                    given,
                    dataset,
                    block.backbone,
                    seed,
                    recipe,
                    synthetic=False,
                    allow_mismatch=allow_mismatch,
                    groups=groups,
                )
                job = Job(
                    configuration.run_id,
                    given,
                    dataset,
                    block.backbone,
                    seed,
                    recipe,
                    allow_mismatch=allow_mismatch,
                    groups=groups,
                )
                for member in _members(configuration, job):
                    found.setdefault(member.job.run_id, member)
        return sorted(found.values(), key=lambda member: member.job.seed)


def load_suite(path: Path) -> Suite:
    """Read a suite.

    Raises:
        ConfigurationError: The file is not there, is not YAML, or has a missing, unknown or invalid field.
    """
    try:
        return Suite.model_validate(read_yaml(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise ConfigurationError(f"There is no suite at {path} ({error.strerror}).") from error
    except pydantic.ValidationError as error:
        raise ConfigurationError(f"{path} is not a suite: {name_offenders(faults(error))}.") from error
    except ValueError as error:
        raise ConfigurationError(f"{path} is not valid YAML: {error}.") from error


def _members(configuration: Configuration, job: Job) -> list[Member]:
    """Return a run, after those that it builds on."""
    chosen, base = configuration.method, configuration.base
    if base is None:
        return [Member(configuration, job)]
    of_base = replace(
        job,
        run_id=base.run_id,
        method=job.groups if base.infers else chosen.factory.base(chosen.params),
        backbone=configuration.backbone.spec,
        settings=base_settings(job.settings),
        groups=ATTRIBUTE,
        infers=base.infers,
    )
    return [*_members(base, of_base), Member(configuration, replace(job, after=(base.run_id,)))]
