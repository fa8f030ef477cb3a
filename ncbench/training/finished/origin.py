"""What a run is made from, and a record's was: its configuration, its data, its plugins."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ncbench.contracts.dataset import Dataset
from ncbench.contracts.errors import ConfigurationError, DataError, name_offenders
from ncbench.contracts.specs import Spec
from ncbench.data.store.open import Store
from ncbench.data.store.prepare import prepare
from ncbench.discovery.files import changed_files
from ncbench.discovery.registry import Plugin, registry
from ncbench.records.archive import RunResult
from ncbench.records.record import BackbonePart, DatasetPart, MethodPart, Record
from ncbench.training.configuration import Configuration, resolve


def configuration_of(record: Record, dataset: str | None = None) -> Configuration:
    """Return the configuration that a record is of, every parameter and setting as it stands there.

    Args:
        record: The record.
        dataset: Spec of its dataset, where the record has a digest in place of a path of yours.

    Raises:
        ConfigurationError: A plugin or a setting of the run is not known here.
    """
    return resolve(
        _given(record.method),
        dataset or _given(record.dataset),
        _given(record.backbone),
        record.seed,
        record.settings,
        record.dataset.synthetic,
        allow_mismatch=bool(record.dataset.mismatch),
        groups=record.inference,
        kind="groups" if record.method.kind == "groups" else "methods",
        search=record.search,
    )


def configuration_to_repeat(record: Record, dataset: str | None = None) -> Configuration:
    """Return the configuration of a record whose run can be made again here.

    Args:
        record: The record.
        dataset: See :func:`configuration_of`.

    Raises:
        ConfigurationError: It cannot: a plugin is missing or is another file, a setting is not known, or what it builds
            on is another run; or a dataset is named that is not the user's own.
    """
    made_by = f"{record.run_id} was made by ncbench {record.environment.get('ncbench')}"
    made_by += "".join(f" with --plugin {name} (SHA-256 {digest[:12]})" for name, digest in record.plugin_files.items())
    try:
        configuration = configuration_of(record, dataset)
    except ConfigurationError as error:
        raise ConfigurationError(f"This run cannot be made here: {error} {made_by}.") from error
    missing = [
        f"{part.plugin.distribution} {part.plugin.version}"
        for part, found in (
            (record.method, configuration.method),
            (record.dataset, configuration.dataset),
            (record.backbone, configuration.backbone),
        )
        if found.registered.plugin.distribution != part.plugin.distribution
    ]
    if changed := changed_files(plugins_of(configuration), record.plugin_files):
        raise ConfigurationError(f"{', '.join(changed)} here is another file. {made_by}.")
    if missing:
        raise ConfigurationError(
            f"This run needs {name_offenders(missing)}, and here another distribution has the name. Install what it "
            "needs; ncbench plugins lists what is here."
        )
    if dataset not in (None, record.dataset.spec) and not configuration.manifest.yours:
        raise ConfigurationError(
            f"--dataset says where data of your own lie, and this record is of {record.dataset.spec}: leave it out."
        )
    base = configuration.base and configuration.base.run_id
    if base != (record.base and record.base.run_id):
        raise ConfigurationError(
            f"This run builds on {record.base and record.base.run_id}, and what its settings give here is {base}. "
            f"{made_by}."
        )
    return configuration


def prepare_data(
    configuration: Configuration,
    data_root: str | Path | None,
    warn: Callable[[str], None],
    inspect: Callable[[Dataset], None] | None = None,
) -> Store:
    """Return the data of a configuration; arguments and errors of :func:`ncbench.data.store.prepare.prepare`."""
    return prepare(
        configuration.dataset.registered.card,
        configuration.dataset.params,
        data_root=None if data_root is None else Path(data_root),
        synthetic=configuration.synthetic,
        allow_mismatch=configuration.allow_mismatch,
        report=warn,
        inspect=inspect,
    )


def store_of(
    configuration: Configuration, record: Record, data_root: str | Path | None, warn: Callable[[str], None]
) -> Store:
    """Return the data that a record's run was trained on.

    Raises:
        DataError: They are not there, or others now.
    """
    store = prepare_data(configuration, data_root, warn)
    if store.fingerprint != record.dataset.fingerprint:
        raise DataError(
            f"The images or labels of {record.dataset.spec} are others here ({store.fingerprint[:12]}) than those of "
            f"the record ({record.dataset.fingerprint[:12]}): here they are of version "
            f"{configuration.manifest.version} of the dataset, and {record.run_id} was made by ncbench "
            f"{record.environment.get('ncbench')}."
        )
    return store


def plugins_of(configuration: Configuration) -> list[Plugin]:
    """Return the plugins on which the numbers of a run depend; those of a base are in that run's record."""
    parts = (configuration.method, configuration.dataset, configuration.backbone)
    registered = [*(part.registered for part in parts), *registry().metric_families()]
    return [each.plugin for each in registered]


def refuse_changed_files(configuration: Configuration, result: RunResult) -> None:
    """Refuse a run that was made with other plugin files than there are now: it would pass for one of these.

    Raises:
        DataError: It was.
    """
    changed = changed_files(plugins_of(configuration), result.record.plugin_files)
    if changed:
        raise DataError(
            f"The run in {result.folder} was made with another {', '.join(changed)} than there is now, or without. Put "
            "that back, or delete the folder to make the run anew (ncbench run --force)."
        )


def _given(part: MethodPart | DatasetPart | BackbonePart) -> str:
    """Return the spec of what a record names with every parameter: what a spec leaves out may have another default now.

    Its values are whatever a stranger wrote; :func:`ncbench.run` says which are none.
    """
    return str(Spec(part.name, part.parameters))  # type: ignore[arg-type]
