"""Options that several commands have."""

from __future__ import annotations

from pathlib import Path

import click

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
debug = click.option("--debug", is_flag=True, expose_value=False, help="Show the traceback of an error.")
run_paths = click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
folder_of_runs = click.option(
    "--output", type=click.Path(path_type=Path), default="runs", show_default=True, help="Folder of the run folders."
)
synthetic = click.option(
    "--synthetic", is_flag=True, help="Use the dataset's generated twin; such records are never ranked."
)
allow_mismatch = click.option(
    "--allow-mismatch",
    is_flag=True,
    help="Go on with data that are not the released ones; such records say so and are never ranked.",
)
data_root = click.option(
    "--data-root",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Where datasets lie. Default: $NCBENCH_DATA, then the platform's cache folder.",
)
