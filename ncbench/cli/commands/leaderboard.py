"""``ncbench leaderboard``: build, check, submit, rerun."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ncbench.cli import options
from ncbench.cli.terminal import show, tell, text_console
from ncbench.contracts.errors import DataError, counted

if TYPE_CHECKING:
    from ncbench.leaderboard.check import Change

_FOLDER = click.option(
    "--board",
    "folder",
    default="leaderboard",
    show_default=True,
    metavar="DIR",
    type=options.PathOption(),
    help="The leaderboard folder.",
)


@click.group()
def leaderboard() -> None:
    """Build the leaderboard from its records, check it, submit to it, make its runs again."""


@leaderboard.command()
@_FOLDER
def build(folder: Path) -> int:
    """Write leaderboard.json, README.md and the pages in site/ from the records.

    The pages take the libraries of ncbench[site]; without them the other two are written. A record that is refused is
    named with the field and the reason; the board is built from the others, and the exit code is 3.
    """
    from ncbench.leaderboard.build import build as build_files
    from ncbench.leaderboard.intake.files import SITE
    from ncbench.leaderboard.pages import libraries
    from ncbench.leaderboard.pages.wording import reruns_beside

    built = build_files(folder)
    for problem in built.left_out:
        tell(f"{'Refused' if problem.refused else 'Excluded'}: {problem}")
    rows = sum(len(section.rows) for table in built.datasets for section in table.sections)
    on = f"{counted(rows, 'row')} on {counted(len(built.datasets), 'dataset')}"
    click.echo(f"{built.counted} of {built.records} records count{reruns_beside(built)}, in {on}.")
    missing = libraries.missing()
    written = [folder / "leaderboard.json", folder / "README.md", *([] if missing else [folder / SITE / "index.html"])]
    show(f"Written: {', '.join(map(str, written))}")
    if missing:
        lack = f"they take {' and '.join(missing)}, which are not installed: {libraries.INSTALL}"
        tell(f"No pages, and those of an earlier build are removed: {lack}")
    refused = sum(problem.refused for problem in built.left_out)
    if refused:
        were = "1 record was" if refused == 1 else f"{refused} records were"
        tell(f"{were} refused; the board is built from the others.")
        return DataError.exit_code
    return 0


@leaderboard.command()
@_FOLDER
@click.option("--base", metavar="GIT_REF", help="Also require that every record of this commit is there, unchanged.")
def check(folder: Path, base: str | None) -> int:
    """Rebuild in memory and compare; exit with 1 if anything is wrong, one line each."""
    from ncbench.leaderboard.check import check as check_folder

    verdict = check_folder(folder, base)
    if verdict.changes:
        _print_changes(verdict.changes, base)
    for line in verdict.failures:
        tell(line)
    if verdict.failures:
        tell(f"The check failed: {len(verdict.failures)} problem(s).")
        return 1
    click.echo(f"The check passed: {verdict.board.records} records, {verdict.board.counted} of them count.")
    return 0


@leaderboard.command()
@click.argument("runs", nargs=-1, required=True, metavar="RUN...", type=options.PathOption(exists=True))
@_FOLDER
@click.option("--supersedes", metavar="HASH", help="The record that the run corrects, by the name of its file.")
def submit(runs: tuple[Path, ...], folder: Path, supersedes: str | None) -> int:
    """Place the records of runs in the archive, for a pull request.

    RUN is a run folder or a result.json. A record that would not count (of a run that is not completed, or on data
    that are generated, not the released ones, or without test images, as ufm's) is refused with the reason, and the
    exit code is 1; the others are placed. One seed is enough for a row; a row ranks from three seeds on.
    """
    from ncbench.leaderboard.submit import submit as submit_runs
    from ncbench.records.intervals import MIN_SEEDS

    outcomes = submit_runs(folder, runs, supersedes.removesuffix(".json") if supersedes else None)
    for outcome in outcomes:
        if outcome.path is None:
            tell(f"Refused: {outcome.run}: {outcome.problem}.")
        else:
            show(f"{'Placed' if outcome.new else 'Already there'}: {outcome.path}")
    for row, tuned in dict.fromkeys(
        (each.row, each.tuned_on_test) for each in outcomes if each.row and each.tuned_on_test
    ):
        click.echo(f"Not ranked: {row}: it was tuned on test ({tuned}).")
    few = [(outcome.row, outcome.seeds) for outcome in outcomes if 0 < outcome.seeds < MIN_SEEDS]
    for row, seeds in dict.fromkeys(few):
        click.echo(f"Not ranked yet: {row}: {seeds} of the {MIN_SEEDS} seeds that a rank takes.")
    if any(outcome.new for outcome in outcomes):
        _show_next_step(folder)
    return 1 if any(outcome.path is None for outcome in outcomes) else 0


@leaderboard.command()
@click.argument("row", metavar="ROW")
@click.option("--seed", type=click.IntRange(min=0), help="Which of the row's; default: the first without a rerun.")
@_FOLDER
@click.option("--output", type=options.PathOption(), default="reruns", show_default=True, help="Folder of the reruns.")
@options.data_root
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1, ...")
@click.option("--force", is_flag=True, help="Discard what is there of an earlier attempt.")
@click.option("--quiet", is_flag=True, help="Print nothing but errors and the outcome.")
@options.debug
def rerun(row: str, seed: int | None, folder: Path, quiet: bool, **others: Any) -> int:
    """Make a run of the board again from its record alone, and file the result beside it.

    ROW is METHOD/DATASET, as in erm/colored_digits, a row's id, or the file of a record. The rerun agrees if its
    primary metric is no farther from the record's than the row's seeds are from one another; the exit code is 0 if it
    does, 1 if it does not, and 4 if it diverged. The same command goes on with a rerun that was cut off.
    """
    from ncbench.cli.progress import make_reporter
    from ncbench.leaderboard.rerun import describe
    from ncbench.leaderboard.rerun import rerun as make_again

    with make_reporter(quiet) as reporter:
        try:
            warn = (lambda message: None) if quiet else tell
            outcome = make_again(folder, row, seed, reporter=reporter, warn=warn, **others)
        except KeyboardInterrupt:
            click.echo("\nInterrupted; nothing is filed. The same command goes on with the rerun.", err=True)
            sys.exit(130)
    for line in describe(outcome):
        click.echo(line)
    click.echo(f"{'Filed' if outcome.new else 'Already there'}: {outcome.path}")
    if outcome.new:
        _show_next_step(folder)
    return {"diverged": 4, "differs": 1}.get(outcome.verdict, 0)


def _show_next_step(folder: Path) -> None:
    option = "" if folder == Path("leaderboard") else f" --board {shlex.quote(str(folder))}"
    show(f"Next: run 'ncbench leaderboard build{option}', and commit {folder}.")


def _print_changes(changes: list[Change], base: str | None) -> None:
    from rich.table import Table

    headings = ("dataset", "method", "labels and selection", "before", "after")
    table = Table(*headings, title=f"Changes against {base or 'the committed board'}", box=None)
    for change in changes:
        table.add_row(change.dataset, change.method, change.section, change.before or "new", change.after or "gone")
    text_console().print(table)
