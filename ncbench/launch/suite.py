"""Suites: which runs belong together, in a YAML file."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import pydantic
from pydantic import Field

from ncbench.contracts.errors import ConfigurationError, name_offenders
from ncbench.contracts.parameters import Values
from ncbench.contracts.soundness import sound_search_space
from ncbench.contracts.specs import ATTRIBUTE, Scalar, Spec, read_yaml
from ncbench.data.files import Part, faults
from ncbench.discovery.registry import registry
from ncbench.launch.member import Member, Pair
from ncbench.launch.search import Search, Tuning


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
        search: What chooses further settings, for each method, dataset and point of the grid.
    """

    methods: tuple[str, ...] = Field(min_length=1)
    datasets: tuple[str, ...] = Field(min_length=1)
    seeds: tuple[Annotated[int, Field(ge=0)], ...] = Field(min_length=1)
    groups: tuple[str, ...] = Field((ATTRIBUTE,), min_length=1)
    backbone: str | None = None
    settings: Mapping[str, Scalar] = Field(default_factory=dict)
    grid: Mapping[str, Annotated[tuple[Scalar, ...], Field(min_length=1)]] = Field(default_factory=dict)
    search: Search | None = None

    def pairs(self, allow_mismatch: bool) -> list[Pair]:
        """Return every dataset with every method and every source of groups."""
        return [
            Pair(method, dataset, self.backbone, groups, allow_mismatch)
            for dataset, method, groups in itertools.product(self.datasets, self.methods, self.groups)
        ]

    def points(self) -> list[dict[str, Scalar]]:
        """Return the settings of every point of the grid."""
        return [
            {**self.settings, **dict(zip(self.grid, values, strict=True))}
            for values in itertools.product(*self.grid.values())
        ]

    def space(self, pair: Pair, point: Mapping[str, Scalar]) -> Mapping[str, Values]:
        """Return what is searched of a method: what the search names, or else the method's own space.

        What the suite sets is not searched.

        Raises:
            ConfigurationError: The suite sets what its search names.
        """
        if self.search is None:
            return {}
        spec = Spec.parse(pair.method)
        given = {*point, *(f"method.{key}" for key in spec.parameters)}
        if self.search.space is None:
            own = sound_search_space(registry().find("methods", spec.name).load())
            return {key: values for key, values in own.items() if key not in given}
        if twice := sorted(given & self.search.space.keys()):
            raise ConfigurationError(f"{twice[0]!r} is both set for {pair.method} and in the space of its search.")
        return self.search.space


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
        """Return every run that no search comes before, once, seed by seed; bases come before what builds on them.

        So a sweep that is cut short has compared all methods.

        Args:
            allow_mismatch: As for :func:`ncbench.run`; such runs are others, with ids of their own.

        Raises:
            ConfigurationError: A name, key or value is not valid.
            PluginError: A plugin cannot be imported.
        """
        found: dict[str, Member] = {}
        for block in self.runs:
            for seed, pair, point in itertools.product(block.seeds, block.pairs(allow_mismatch), block.points()):
                for member in [] if block.space(pair, point) else pair.members(seed, point):
                    found.setdefault(member.job.run_id, member)
        return sorted(found.values(), key=lambda member: member.job.seed)

    def unsearched(self, allow_mismatch: bool = False) -> list[tuple[str, Member]]:
        """Return criterion and first run of every search that has nothing to try; all else as :meth:`members`."""
        return [
            (block.search.select, pair.members(block.seeds[0], point)[-1])
            for block in self.runs
            for pair, point in itertools.product(block.pairs(allow_mismatch), block.points())
            if block.search is not None and not block.space(pair, point)
        ]

    def tunings(self, allow_mismatch: bool = False) -> list[Tuning]:
        """Return the search of every method that has something to search; arguments and errors of :meth:`members`."""
        return [
            block.search.tuning(pair, point, {key: point[key] for key in block.grid}, space, block.seeds)
            for block in self.runs
            for pair, point in itertools.product(block.pairs(allow_mismatch), block.points())
            if block.search is not None and (space := block.space(pair, point))
        ]


def load_suite(path: Path) -> Suite:
    """Read a suite.

    Raises:
        ConfigurationError: The file is not there, is not YAML, or has a missing, unknown or invalid field.
    """
    try:
        return Suite.model_validate(read_yaml(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise ConfigurationError(
            f"There is no suite at {path} ({error.strerror}). Name a YAML file of methods, datasets and seeds, such as "
            "those in leaderboard/suites; docs/suites.md says how to write one."
        ) from error
    except pydantic.ValidationError as error:
        raise ConfigurationError(f"{path} is not a suite: {name_offenders(faults(error))}.") from error
    except ValueError as error:
        raise ConfigurationError(f"{path} is not valid YAML: {error}.") from error
