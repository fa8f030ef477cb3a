"""What a model predicted for the images of a split: a run's own ``predictions.parquet``, and the tables of others.

A run's file has a row for each image of val and test and the columns split, id, target, bias (null where the attribute
is unknown), prediction and, of up to 100 classes, the probability ``p_0``, ``p_1``, ... of each. The names of classes
and bias values are in the schema's metadata.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pydantic
from pydantic import Field

from ncbench.contracts.errors import ConfigurationError, DataError, name_offenders, unknown_name
from ncbench.data.files import Part, faults, write_atomically
from ncbench.data.tables import codes_of, labels_of, names_of, read_table
from ncbench.records.folder import PREDICTIONS_FILE

if TYPE_CHECKING:
    import pyarrow as pa

MOST_PROBABILITIES = 100
"""Classes of which probabilities are kept: those of a test split with thousands would be gigabytes."""

_TOLERANCE = 1e-2  # by which probabilities may miss 1: tables are printed with few digits


@dataclass(frozen=True, eq=False)
class Predictions:
    """Of the N images of one split.

    Args:
        target: (N,) int64 classes 0..K-1.
        predicted: (N,) int64 classes 0..K-1.
        class_names: K names.
        bias: (N,) int64 bias attribute 0..B-1; None where it is unknown.
        bias_names: B names; empty where it is unknown.
        probability: (N, K) float32, of each class; None if that was not kept.
        ids: N identifiers; None if there are none, and positions stand for them.
        aligned_bias: For each class, the bias value that goes along with it in training; None if that is unknown.
    """

    target: np.ndarray
    predicted: np.ndarray
    class_names: Sequence[str]
    bias: np.ndarray | None = None
    bias_names: Sequence[str] = ()
    probability: np.ndarray | None = None
    ids: Sequence[str] | None = None
    aligned_bias: Sequence[int] | None = None

    def __len__(self) -> int:
        """Return N."""
        return len(self.target)


@dataclass(frozen=True)
class Columns:
    """What the columns of a table are called.

    Args:
        target: Classes, whole numbers from 0 or names.
        prediction: Predicted classes, likewise.
        bias: Values of the bias attribute, likewise; not needed, but refused when it is named and not there.
        probability: What the names of the K columns of probabilities begin with; the rest is the class.
        split: Of the split's name, where a table has several.
    """

    target: str = "target"
    prediction: str = "prediction"
    bias: str | None = None
    probability: str = "p_"
    split: str = "split"


TYPICAL = Columns()


def write_predictions(splits: Mapping[str, Predictions], path: Path) -> None:
    """Write a run's predictions of several splits, of the same classes and bias values, into one file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    tables = []
    for name, split in splits.items():
        columns: dict[str, Any] = {
            "split": pa.array([name] * len(split)).dictionary_encode(),
            "id": pa.array([*map(str, range(len(split)))] if split.ids is None else split.ids),
            "target": split.target,
            "bias": pa.nulls(len(split), pa.int64()) if split.bias is None else split.bias,
            "prediction": split.predicted,
        }
        if split.probability is not None:
            columns |= {f"p_{index}": column for index, column in enumerate(split.probability.T)}
        tables.append(pa.table(columns))
    first = next(iter(splits.values()))
    names = {"class_names": [*first.class_names], "bias_names": [*first.bias_names], "aligned_bias": first.aligned_bias}
    table = pa.concat_tables(tables, promote_options="default").unify_dictionaries()
    content = io.BytesIO()
    pq.write_table(table.replace_schema_metadata({"ncbench": json.dumps(names)}), content)
    write_atomically(path, content.getvalue())


def read_predictions(path: Path, columns: Columns = TYPICAL, split: str | None = None) -> Predictions:
    """Read the predictions of one split from a table of anyone's, or from a run's folder.

    Args:
        path: A .csv, .tsv, .parquet or .jsonl file, or a folder with ``predictions.parquet``.
        columns: What its columns are called.
        split: Which split of a table that has several; None takes test, or the only one.

    Raises:
        DataError: The file or a column is missing or damaged; a row has no value, a class without a name, or no
            probabilities that add to 1.
        ConfigurationError: The kind of file is not known, or the split or the column that is asked for is not there.
    """
    if path.is_dir():
        path = path / PREDICTIONS_FILE
    table = read_table(path)
    names = _own_names(path, table)
    table = _of_split(path, table, columns.split, split)
    if names:
        return _own(path, table, names)
    for column in (columns.target, columns.prediction, *([columns.bias] if columns.bias else [])):
        if column not in table.column_names:
            option = next(role for role, name in vars(columns).items() if name == column)
            listed = name_offenders([repr(name) for name in table.column_names], limit=12)
            raise DataError(f"{path} has no column {column!r}; it has {listed}. Name the column with --{option}.")
    labels = [labels_of(path, table, name) for name in (columns.target, columns.prediction)]
    beginning = len(columns.probability)
    of_class = {name[beginning:]: name for name in table.column_names if name.startswith(columns.probability)}
    # Columns such as p_max are of no class.
    numbers = [] if isinstance(labels[0][0], str) else [int(key) for key in of_class if key.isdecimal()]
    class_names = names_of(path, [*labels[0], *labels[1], *numbers])
    probability = _probabilities(path, table, class_names, of_class)
    target, predicted = (codes_of(path, values, class_names) for values in labels)
    bias_column = columns.bias or ("bias" if "bias" in table.column_names else None)
    bias, bias_names = None, list[str]()
    if bias_column and table.column(bias_column).null_count < table.num_rows:
        values = labels_of(path, table, bias_column)
        bias_names = names_of(path, values)
        bias = codes_of(path, values, bias_names)
    return Predictions(
        target,
        predicted,
        class_names,
        bias,
        bias_names,
        probability,
        None if "id" not in table.column_names else table.column("id").to_pylist(),
    )


def group_names(folder: Path) -> tuple[Sequence[str], Sequence[str]] | None:
    """Return the names of classes and bias values that a run's predictions carry; None where they cannot be read."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        metadata = pq.read_schema(folder / PREDICTIONS_FILE).metadata or {}
        names = _Names.model_validate_json(metadata[b"ncbench"])
    except (OSError, KeyError, ValueError, pa.ArrowException):
        return None
    return names.class_names, names.bias_names


class _Names(Part):
    """What the metadata of a run's file say."""

    class_names: tuple[str, ...] = Field(min_length=1)
    bias_names: tuple[str, ...]
    aligned_bias: tuple[int, ...] | None

    @pydantic.model_validator(mode="after")
    def _aligned_fits(self) -> _Names:
        values = self.aligned_bias
        if values is not None and (
            len(values) != len(self.class_names) or not all(0 <= value < len(self.bias_names) for value in values)
        ):
            raise ValueError("aligned_bias has no bias value for each class")
        return self


def _own(path: Path, table: pa.Table, names: _Names) -> Predictions:
    """Return what a run has written, in which labels are positions among the names."""
    class_names, bias_names = names.class_names, names.bias_names
    target, predicted, bias = (
        None
        if table.column(name).null_count
        else codes_of(path, labels_of(path, table, name), [*map(str, range(number))])
        for name, number in (("target", len(class_names)), ("prediction", len(class_names)), ("bias", len(bias_names)))
    )
    if target is None or predicted is None:
        raise DataError(f"{path} has rows without a target or a prediction.")
    of_class = {name: f"p_{index}" for index, name in enumerate(class_names) if f"p_{index}" in table.column_names}
    probability = _probabilities(path, table, class_names, of_class)
    ids = table.column("id").to_pylist()
    known = () if bias is None else bias_names  # a run's splits share the names, also one without the attribute
    return Predictions(target, predicted, class_names, bias, known, probability, ids, names.aligned_bias)


def _own_names(path: Path, table: pa.Table) -> _Names | None:
    """Return the names that a run's own file carries; None of a file that is no run's."""
    metadata = (table.schema.metadata or {}).get(b"ncbench")
    if metadata is None:
        return None
    if missing := [name for name in ("id", "target", "bias", "prediction") if name not in table.column_names]:
        raise DataError(f"{path} says that a run wrote it, and has no column {', '.join(missing)}.")
    try:
        return _Names.model_validate_json(metadata)
    except pydantic.ValidationError as error:
        raise DataError(f"{path} says that a run wrote it, and is damaged: {name_offenders(faults(error))}.") from error


def _of_split(path: Path, table: pa.Table, column: str, split: str | None) -> pa.Table:
    import pyarrow.compute as pc

    if column not in table.column_names:
        if split is not None:
            raise ConfigurationError(f"{path} has no column {column!r}, so it cannot be asked for split {split!r}.")
        return table
    there = sorted(str(name) for name in pc.unique(table.column(column)).to_pylist())
    chosen = split or ("test" if "test" in there else there[0] if len(there) == 1 else None)
    if chosen is None:
        raise ConfigurationError(f"{path} has the splits {', '.join(there)}. Choose one with --split.")
    if chosen not in there:
        raise unknown_name(f"split of {path}", chosen, there)
    return table.filter(pc.equal(pc.cast(table.column(column), "string"), chosen))


def _probabilities(path: Path, table: pa.Table, names: Sequence[str], of_class: Mapping[str, str]) -> np.ndarray | None:
    """Return (N, K) float32 of the columns of probabilities by class; None where there are none.

    Raises:
        DataError: They are there for some of the classes, are no numbers, or don't add to 1.
    """
    missing = [name for name in names if name not in of_class]
    if len(missing) == len(names):
        return None
    if missing:
        raise DataError(f"{path} has probabilities of some classes, and none of {name_offenders(missing)}.")
    try:
        columns = [table.column(of_class[name]).to_numpy().astype(np.float32) for name in names]
    except (ValueError, TypeError) as error:
        raise DataError(f"{path}: some probabilities are no numbers ({error}).") from error
    probability = np.stack(columns, axis=1)
    fits = (probability >= 0).all(axis=1) & (np.abs(probability.sum(axis=1) - 1) <= _TOLERANCE)
    if not fits.all():
        row = int(np.flatnonzero(~fits)[0])
        raise DataError(
            f"{path}: the probabilities of row {row} add to {probability[row].sum():.4g} and the smallest is "
            f"{probability[row].min():.4g}: they must be at least 0 and add to 1. Where these columns are no "
            "probabilities, name what others begin with: --probability."
        )
    return probability
