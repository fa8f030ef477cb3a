"""The results of many runs: read from their folders, as a data frame, and as tables for papers and programs."""

from __future__ import annotations

import sys
from collections import ChainMap, Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from ncbench.contracts.errors import DataError, counted
from ncbench.contracts.specs import ATTRIBUTE
from ncbench.data.files import from_home
from ncbench.records.archive import RESULT_FILE, TRIALS, RunResult, load_result
from ncbench.records.comparison import by_configuration, by_data
from ncbench.records.export import Format, export
from ncbench.records.markup import html_table

if TYPE_CHECKING:
    import pandas as pd

_SHOWN = 60  # rows of a notebook's table


@dataclass(frozen=True, repr=False)
class Results(Sequence[RunResult]):
    """The results of some runs, in the order in which they were read: a sequence of :class:`RunResult`."""

    runs: tuple[RunResult, ...]

    def to_frame(self) -> pd.DataFrame:
        """Return a row for each run.

        The columns ``method``, ``dataset``, ``groups`` and ``backbone`` are specs, ``seed`` and ``status`` those of the
        record. ``caveat`` says how the data are not the released ones, and is empty if they are; ``run_id`` and
        ``folder`` lead to the record. Then come the settings, by the names by which they are set (``method.KEY``,
        ``recipe.KEY``, ``base.recipe.KEY``), then the metrics (``train.NAME``, ``val.NAME``, ``test.NAME``), accuracies
        as fractions. What a run does not have is missing.
        """
        import pandas as pd

        rows = [(_identity(run), _parameters(run), run.record.settings, _metrics(run)) for run in self.runs]
        columns = {name: None for part in zip(*rows, strict=True) for each in part for name in each}
        return pd.DataFrame([dict(ChainMap(*row)) for row in rows], columns=list(columns))

    def export(self, form: Format, metrics: Sequence[str] = ()) -> str:
        """Return the table of means over seeds, a row for each configuration and a table for each dataset.

        Args:
            form: ``"markdown"``, ``"latex"`` (needs booktabs), ``"csv"`` or ``"json"``. The last two have a line for
                each number: mean, standard deviation and half the 95% interval over the seeds, not rounded.
            metrics: Names of those that are shown; none for the accuracies of images and groups and the primary metric.

        Raises:
            ConfigurationError: The format or a metric is not known.
        """
        return export(self.runs, form, metrics)

    @overload
    def __getitem__(self, index: int) -> RunResult: ...

    @overload
    def __getitem__(self, index: slice) -> Results: ...

    def __getitem__(self, index: int | slice) -> RunResult | Results:
        return Results(self.runs[index]) if isinstance(index, slice) else self.runs[index]

    def __len__(self) -> int:
        return len(self.runs)

    def __repr__(self) -> str:
        configurations = counted(len(by_configuration(self.runs)), "configuration")
        statuses = ", ".join(f"{number} {status}" for status, number in Counter(run.status for run in self).items())
        datasets = counted(len(by_data(self.runs)), "dataset")
        return f"<Results: {counted(len(self), 'run')} of {configurations} on {datasets}; {statuses}>"

    def _repr_html_(self) -> str:
        """Return what a notebook shows: the first runs with their primary metric."""
        headings = ["method", "dataset", "groups", "backbone", "seed", "status", "primary metric", "test"]
        rows = []
        for run in self.runs[:_SHOWN]:
            primary = run.record.primary_metric
            value = run.metrics.get("test", {}).get(primary)
            identity = [str(cell) for cell in list(_identity(run).values())[:6]]
            rows.append([*identity, primary, "" if value is None else f"{value:.4g}"])
        first = "" if len(self) <= _SHOWN else f", of which {_SHOWN} are shown"
        return html_table(f"{repr(self)[1:-1]}{first}", headings, rows)


def load_results(
    runs: str | Path | Iterable[str | Path],
    warn: Callable[[str], None] = lambda message: print(message, file=sys.stderr),
) -> Results:
    """Read the records of many runs, each once.

    A run folder without one, as of a run under way, is skipped; so is a damaged one in a folder of run folders.
    In a folder of run folders those that inferred groups are left out, since they are of no method; one that is named
    itself is read.

    Args:
        runs: A folder of run folders such as ``"runs"``, a run folder or a ``result.json``; or several of them.
        warn: Told of what is skipped.

    Raises:
        DataError: There is no record in any of them, or one that is named itself is damaged.
    """
    given = [runs] if isinstance(runs, str | Path) else runs
    results = {}
    found = [(named, path) for named in map(from_home, given) for path in _run_folders(named)]
    for named, path in found:
        file = path / RESULT_FILE if path.is_dir() else path
        if path.is_dir() and not file.exists():
            warn(f"Skipped {path}: it has no {RESULT_FILE} yet.")
        elif file.resolve() not in results:
            try:
                result = load_result(path)
            except DataError as error:
                if path == named:
                    raise
                warn(f"Skipped {path.name}: {error}")
                continue
            if path == named or result.record.method.kind != "groups":
                results[file.resolve()] = result
    if not results:
        raise DataError(
            "None of these folders has a record yet. Name another, or let the runs end: a record is written then."
        )
    return Results(tuple(results.values()))


def _run_folders(path: Path) -> list[Path]:
    """The folders in a folder of run folders, by name; anything else as it is."""
    if not path.is_dir() or (path / RESULT_FILE).exists() or not any(path.glob(f"*/{RESULT_FILE}")):
        return [path]
    return sorted(
        folder
        for folder in path.iterdir()
        if folder.is_dir() and folder.name != TRIALS and not folder.name.startswith(".")
    )


def _identity(run: RunResult) -> dict[str, Any]:
    record = run.record
    return {
        "method": record.method.spec,
        "dataset": record.dataset.spec,
        "groups": ATTRIBUTE if record.groups_from is None else record.groups_from.spec,
        "backbone": record.backbone.spec,
        "seed": record.seed,
        "status": record.status,
        "caveat": record.dataset.caveat,
        "run_id": record.run_id,
        "folder": str(run.folder),
    }


def _parameters(run: RunResult) -> dict[str, Any]:
    return {f"method.{key}": value for key, value in run.record.method.parameters.items()}


def _metrics(run: RunResult) -> dict[str, float]:
    splits = [split for split in ("train", "val", "test") if split in run.metrics]
    return {f"{split}.{name}": value for split in splits for name, value in run.metrics[split].items()}
