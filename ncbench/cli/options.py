"""Options that several commands have."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

T = TypeVar("T")


class PathOption(click.Path):
    """A path as a shell reads it, of every option and argument: see :func:`ncbench.data.files.from_home`."""

    def __init__(self, *, exists: bool = False, file_okay: bool = True) -> None:
        super().__init__(exists=exists, file_okay=file_okay, path_type=Path)

    def convert(
        self, value: str | os.PathLike[str], param: click.Parameter | None, ctx: click.Context | None
    ) -> str | bytes | os.PathLike[str]:
        """Return the path, which is a ``pathlib.Path``."""
        from ncbench.data.files import from_home  # here, since --help needs no path and is to be fast

        return super().convert(from_home(os.fspath(value)), param, ctx)


as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
debug = click.option("--debug", is_flag=True, expose_value=False, help="Show the traceback of an error.")
run_paths = click.argument("runs", nargs=-1, required=True, type=PathOption())
folder_of_runs = click.option(
    "--output", type=PathOption(), default="runs", show_default=True, help="Folder of the run folders."
)
devices = click.option(
    "--devices",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="How many devices, or processes on a CPU, share the work of each run.",
)
track = click.option(
    "--track",
    multiple=True,
    metavar="SPEC",
    help="Show runs there while they train, NAME[:key=value,...]: ncbench list trackers; repeatable.",
)
synthetic = click.option(
    "--synthetic", is_flag=True, help="Use the dataset's generated twin; such records are never ranked."
)
allow_mismatch = click.option(
    "--allow-mismatch",
    is_flag=True,
    help="Go on with data that are not the released ones; such records say so and are never ranked.",
)
picture_format = click.option(
    "--format",
    "ending",
    type=click.Choice(["png", "svg", "pdf"]),
    default="png",
    show_default=True,
    help="Of pictures; svg and pdf can be scaled, and their text is text.",
)


def plugin_files(command: Callable[..., T]) -> Callable[..., T]:
    """Give a command the option ``--plugin``; what the files bring is there while it runs."""

    @click.option(
        "--plugin",
        "files",
        multiple=True,
        type=PathOption(),
        metavar="FILE.py",
        help="Use the hooks of this file, too; repeatable. Records made with it say so and are never ranked.",
    )
    @functools.wraps(command)
    def with_files(*arguments: Any, files: tuple[Path, ...], **named: Any) -> T:
        if not files:
            return command(*arguments, **named)
        from ncbench.discovery.files import plugins_from

        with plugins_from(files):
            return command(*arguments, **named)

    return with_files


data_root = click.option(
    "--data-root",
    type=PathOption(exists=True, file_okay=False),
    help="Where datasets lie. Default: $NCBENCH_DATA, then the platform's cache folder.",
)
