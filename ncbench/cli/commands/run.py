"""``ncbench run``: train one method on one dataset with one seed."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from ncbench.cli import options
from ncbench.cli.terminal import show, tell
from ncbench.contracts.errors import ConfigurationError
from ncbench.contracts.specs import ATTRIBUTE, Spec

if TYPE_CHECKING:
    from ncbench.records.archive import RunResult


@click.command()
@click.option(
    "--method", default="shortcut_prime", show_default=True, metavar="SPEC", help="Method, NAME[:key=value,...]."
)
@click.option(
    "--dataset", default="colored_digits", show_default=True, metavar="SPEC", help="Dataset, NAME[:key=value,...]."
)
@click.option("--backbone", metavar="SPEC", help="Backbone; default: the published one, or the dataset's.")
@click.option(
    "--groups",
    default=ATTRIBUTE,
    show_default=True,
    metavar="SPEC",
    help="What the method's groups are of: the bias attribute, or a way to infer them, NAME[:key=value,...].",
)
@click.option("--infer-only", is_flag=True, help="Make the run that infers --groups, and no other.")
@click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Everything random follows from it."
)
@click.option("--set", "settings", multiple=True, metavar="recipe.KEY=VALUE", help="Change the recipe; repeatable.")
@click.option(
    "--search",
    metavar="JSON",
    help="What chose some of these settings, as sweep says it: for the record and the run's id.",
)
@click.option(
    "--from",
    "of_record",
    type=options.PathOption(),
    metavar="RECORD",
    help="Make the run of this record (a result.json or its folder) again, with every setting that stands there. "
    "--dataset then only says where data of your own lie.",
)
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1, ...")
@options.devices
@options.folder_of_runs
@options.data_root
@click.option("--resume", is_flag=True, help="Go on with this run from its newest checkpoint, or start it.")
@click.option("--force", is_flag=True, help="Discard what is there of this run and start it anew.")
@click.option("--wait", is_flag=True, help="Where another process makes this run, wait for it instead of refusing.")
@options.synthetic
@options.allow_mismatch
@options.plugin_files
@click.option(
    "--checkpoint-seconds",
    type=click.FloatRange(min=0),
    default=30.0,
    show_default=True,
    help="Least time between two checkpoints; no result depends on it.",
)
@options.track
@click.option("--quiet", is_flag=True, help="Print nothing but errors.")
@options.debug
@click.pass_context
def run(context: click.Context, /, of_record: Path | None, quiet: bool, **arguments: Any) -> int:
    """Train a method on a dataset and write the record.

    A run's folder follows from its configuration and seed. A finished run is not run again: the same command points to
    its record.
    """
    if of_record is not None:
        _refuse_settings(context)
    from ncbench.training.interrupts import end_with_launcher

    end_with_launcher()  # before what takes seconds to import
    if of_record is None:
        _refuse_unknown(arguments)

    from ncbench.training.devices.place import find_place

    place = find_place(arguments["devices"])
    if place is None and arguments["devices"] > 1:
        from ncbench.cli.devices import run_on_devices

        return run_on_devices(arguments["devices"])
    quiet = quiet or (place is not None and place.index > 0)

    from ncbench.cli.progress import make_reporter
    from ncbench.cli.tables.result import print_result

    with make_reporter(quiet) as reporter:
        try:
            result = _make(of_record, context, **arguments, reporter=reporter, warn=_silent if quiet else tell)
        except KeyboardInterrupt as interrupt:
            click.echo(f"\n{interrupt}" if str(interrupt) else "\nInterrupted before training began.", err=True)
            sys.exit(130)
    if not quiet:
        print_result(result)
        _show_curves(result)
    if result.status == "diverged":
        click.echo(f"Error: the run diverged: {result.record.reason}. Try a smaller recipe.lr.", err=True)
        return 4
    return 0


def _refuse_unknown(arguments: Mapping[str, Any]) -> None:
    """Refuse names that no plugin has, before torch is imported: a slip is told at once."""
    from ncbench.discovery.registry import registry

    for option in ("method", "dataset", "backbone"):
        if spec := arguments[option]:
            registry().find(f"{option}s", Spec.parse(spec).name)


_OF_THE_RECORD = frozenset(
    {"method", "backbone", "groups", "infer_only", "seed", "settings", "search", "synthetic", "allow_mismatch"}
)


def _refuse_settings(context: click.Context) -> None:
    """Refuse options that would make another run than the record's."""
    for parameter in context.command.params:
        name = parameter.name or ""
        if name in _OF_THE_RECORD and _is_given(context, name):
            raise ConfigurationError(
                f"--from makes a record's run again, as it was; leave out {parameter.opts[0]}, or leave out --from."
            )


def _is_given(context: click.Context, name: str) -> bool:
    return context.get_parameter_source(name) is not ParameterSource.DEFAULT


def _make(of_record: Path | None, context: click.Context, **arguments: Any) -> RunResult:
    """Make the run that is named, or that of a record."""
    from ncbench.contracts.specs import parse_settings
    from ncbench.records.archive import load_result
    from ncbench.training.run import run as run_once
    from ncbench.training.run import run_again

    if of_record is not None:
        others = {name: value for name, value in arguments.items() if name not in _OF_THE_RECORD}
        dataset = others.pop("dataset")
        return run_again(load_result(of_record).record, dataset if _is_given(context, "dataset") else None, **others)
    settings, infer_only = arguments.pop("settings"), arguments.pop("infer_only")
    method = arguments.pop("method")
    return run_once(None if infer_only else method, set=parse_settings(list(settings)), **arguments)


def _silent(message: str) -> None:
    pass


def _show_curves(result: RunResult) -> None:
    """Draw a run's curves where somebody looks; elsewhere say how they are drawn."""
    command = f"ncbench plot {shlex.quote(str(result.folder))}"
    if not result.record.history:
        return
    if not sys.stdout.isatty():
        show(f"Curves: {command}")
        return
    from ncbench.pictures.curves import plot_curves

    try:
        show(f"Curves: {plot_curves([result], result.folder / 'curves.png')}")
    except KeyboardInterrupt:
        click.echo(err=True)
        tell(f"Interrupted while drawing; the record is whole: {result.path}. Its curves are drawn by {command}")
        sys.exit(130)
