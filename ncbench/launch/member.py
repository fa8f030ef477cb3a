"""The runs of a suite, one by one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from ncbench.contracts.launcher import Job
from ncbench.contracts.specs import ATTRIBUTE, Scalar, Spec
from ncbench.records.record import SearchPart
from ncbench.training.configuration import Configuration, resolve
from ncbench.training.recipe import base_settings


@dataclass(frozen=True)
class Member:
    """One run of a suite: what it is, and the job that makes it."""

    configuration: Configuration
    job: Job


@dataclass(frozen=True)
class Pair:
    """A method on a dataset, as a suite names them.

    Args:
        method: Spec.
        dataset: Spec.
        backbone: Spec, or None for the published or the dataset's default.
        groups: What the groups are of that the method trains on.
        allow_mismatch: As for :func:`ncbench.run`.
    """

    method: str
    dataset: str
    backbone: str | None
    groups: str
    allow_mismatch: bool

    def members(self, seed: int, settings: Mapping[str, Scalar], search: SearchPart | None = None) -> list[Member]:
        """Return a run of it, after those that it builds on.

        Args:
            seed: The seed.
            settings: ``"recipe.KEY"``, ``"base.recipe.KEY"`` or ``"method.KEY"`` -> value.
            search: What chose some of them; None if they were given by hand.

        Raises:
            ConfigurationError: A name, key or value is not valid.
            PluginError: A plugin cannot be imported.
        """
        recipe = {key: value for key, value in settings.items() if not key.startswith("method.")}
        parameters = {key.removeprefix("method."): settings[key] for key in settings.keys() - recipe.keys()}
        spec = Spec.parse(self.method)
        # As given, not canonical: a value that is the parameter's default may stand against a published one.
        method = str(Spec(spec.name, {**spec.parameters, **parameters}))
        configuration = resolve(
            method,
            self.dataset,
            self.backbone,
            seed,
            recipe,
            synthetic=False,
            allow_mismatch=self.allow_mismatch,
            groups=self.groups,
            search=search,
        )
        job = Job(
            configuration.run_id,
            method,
            self.dataset,
            self.backbone,
            seed,
            recipe,
            allow_mismatch=self.allow_mismatch,
            groups=self.groups,
            search="" if search is None else search.model_dump_json(),
        )
        return _after_bases(configuration, job)


def _after_bases(configuration: Configuration, job: Job) -> list[Member]:
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
        search="",
    )
    return [*_after_bases(base, of_base), Member(configuration, replace(job, after=(base.run_id,)))]
