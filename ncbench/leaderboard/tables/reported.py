"""``reported.yaml``: numbers of papers, and of published code run elsewhere, for comparison with the archive's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import pydantic
from pydantic import Field

from ncbench.contracts.errors import ConfigurationError, NcbenchError, name_offenders
from ncbench.contracts.specs import Spec, read_yaml
from ncbench.data.files import Part, faults
from ncbench.leaderboard.intake.catalogue import Catalogue
from ncbench.leaderboard.intake.files import is_folder_name, read_file
from ncbench.leaderboard.intake.problems import RefusedError, plain
from ncbench.leaderboard.tables.board import ReportedNumber, ReportedTable

FILE = "reported.yaml"


def _canonical(text: str) -> str:
    try:
        canonical = str(Spec.parse(text))
    except NcbenchError as error:
        raise ValueError(str(error)) from None
    if canonical != text:
        raise ValueError(f"write it as {canonical!r}, or it will not be found beside the archive's")
    return text


def _accuracy(text: str) -> str:
    known = [name for name, measure in Catalogue.built_in().shown.items() if measure.from_counts]
    if text not in known:
        raise ValueError(f"it is not one of {', '.join(known)}")
    return text


def _must(fits: Callable[[str], bool], rule: str) -> pydantic.AfterValidator:
    def validate(text: str) -> str:
        if not fits(text):
            raise ValueError(f"{text!r} is not {rule}")
        return text

    return pydantic.AfterValidator(validate)


Text = Annotated[str, Field(min_length=1, max_length=500), _must(str.isprintable, "one line of characters that print")]
Method = Annotated[str, _must(is_folder_name, "a name (lower-case letters, digits, underscores)")]
Percent = Annotated[float, Field(ge=0, le=100)]


class Number(Part):
    """One number in per cent, with what its source gives after ± and its seeds, where these are its own."""

    value: Percent
    spread: Percent | None = None
    seeds: Annotated[int, Field(ge=1)] | None = None


class Table(Part):
    """The numbers of one source and one protocol.

    Args:
        label: The source, short enough for a heading.
        source: Author, title, venue, year and table.
        measured: Whether somebody ran published code or its mathematics; else the numbers are copied from the source.
        protocol: What must be known to compare: model, epochs, how hyper-parameters were chosen.
        metric: The accuracy, by its name in records.
        seeds: Of every number that does not say otherwise; None where the source does not say.
        datasets: Canonical specs, the columns.
        methods: Method -> one number a column, or null; ncbench's name where it has the method.
    """

    label: Text
    source: Text
    measured: bool
    protocol: Text
    metric: Annotated[str, pydantic.AfterValidator(_accuracy)]
    seeds: Annotated[int, Field(ge=1)] | None = None
    datasets: list[Annotated[str, pydantic.AfterValidator(_canonical)]]
    methods: Mapping[Method, list[Number | Percent | None]]

    @pydantic.model_validator(mode="after")
    def _one_number_a_column(self) -> Table:
        for method, numbers in self.methods.items():
            if len(numbers) != len(self.datasets):
                raise ValueError(f"{method} has {len(numbers)} numbers for {len(self.datasets)} datasets")
        return self

    def flat(self) -> ReportedTable:
        """Return the table as the board holds it: one entry a number."""
        numbers = []
        for method, row in self.methods.items():
            for dataset, cell in zip(self.datasets, row, strict=True):
                if cell is not None:
                    number = cell if isinstance(cell, Number) else Number(value=cell)
                    seeds = number.seeds or self.seeds
                    entry = {**number.model_dump(), "seeds": seeds, "dataset": dataset, "method": method}
                    numbers.append(ReportedNumber(**entry))
        return ReportedTable(numbers=numbers, **self.model_dump(include={*ReportedTable.model_fields} - {"numbers"}))


_TABLES: pydantic.TypeAdapter[list[Table]] = pydantic.TypeAdapter(list[Table])


def read_reported(folder: Path) -> list[ReportedTable]:
    """Read the reported numbers of a leaderboard folder; none if it has no such file.

    Raises:
        ConfigurationError: The file is not YAML or does not fit; the first twenty offenders are named.
    """
    path = folder / FILE
    if not path.exists() and not path.is_symlink():
        return []
    try:
        content: Any = read_yaml(read_file(path).decode())
        return [table.flat() for table in _TABLES.validate_python(content or [])]
    except pydantic.ValidationError as error:
        found = faults(error)
        shown = name_offenders([plain(place) for place in found])
        raise ConfigurationError(f"{path} does not fit, in {len(found)} places: {shown}.") from error
    except (ValueError, RefusedError) as error:
        raise ConfigurationError(f"{path} is not the YAML expected: {plain(' '.join(str(error).split()))}.") from error
