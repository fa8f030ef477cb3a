"""``leaderboard.json``: everything the pages show, and where each number comes from.

The JSON Schema of :class:`Board` is committed beside this module (``leaderboard.schema.json``); a test keeps them
equal.
"""

from __future__ import annotations

import json
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Estimate(_Part):
    """A mean over seeds, as a fraction, with its 95% interval of Student's t; without interval below three seeds."""

    mean: float
    low: float | None
    high: float | None
    seeds: int


class Paired(_Part):
    """The mean difference to a baseline row over the seeds both have run, as a fraction."""

    baseline: str = Field(description="id of the row compared with")
    difference: Estimate


class Source(_Part):
    """One run of a row: its seed, its record's path relative to this file, and its recomputed test accuracies."""

    seed: int
    record: str
    metrics: dict[str, float]


class Plugin(_Part):
    """A method, dataset or backbone: its canonical spec, and the distribution and versions it came in."""

    name: str
    spec: str
    distribution: str
    versions: list[str]


class Row(_Part):
    """One configuration: its runs differ in the seed alone."""

    id: str = Field(description="first 12 digits of the SHA-256 of the configuration")
    rank: int | None = Field(description="by the primary metric within the section; null below three seeds")
    method: Plugin
    backbone: Plugin
    epochs: int
    recipe: dict[str, JsonValue]
    distinction: str = Field(description="recipe settings that tell it from rows of the same method and backbone")
    metrics: dict[str, Estimate]
    versus_erm: Paired | None = Field(description="on the primary metric; null without a comparable run of erm")
    flags: list[str]
    runs: list[Source]


class Section(_Part):
    """Rows that used the same labels and chose their epoch by the same rule; ranks compare nothing else."""

    train: Literal["none", "bias"]
    val: Literal["none", "bias"]
    hierarchy: bool
    selection: str
    rows: list[Row]


class DatasetTable(_Part):
    """All that was run on one dataset with one set of parameters."""

    dataset: Plugin
    fingerprint: str
    primary_metric: str
    sections: list[Section]


class Left(_Part):
    """A file that does not count, and why. `refused`: it is wrong by itself; else it cannot be compared."""

    file: str
    field: str
    reason: str
    refused: bool


class Board(_Part):
    """The leaderboard."""

    schema_version: Literal[1] = 1
    records: int = Field(description="files in the archive")
    counted: int = Field(description="records behind the rows")
    digest: str = Field(description="SHA-256 over the names of all files in the archive, in order, one a line")
    datasets: list[DatasetTable]
    left_out: list[Left]

    @classmethod
    def json_schema(cls) -> dict[str, Any]:
        """Return the JSON Schema that is committed beside this module."""
        return cls.model_json_schema()

    def to_bytes(self) -> bytes:
        """Return the content of ``leaderboard.json``."""
        return json.dumps(self.model_dump(mode="json"), indent=1, ensure_ascii=True, allow_nan=False).encode() + b"\n"
