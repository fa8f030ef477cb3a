"""``leaderboard.json``: everything the pages show, and where each number comes from.

The JSON Schema of :class:`Board` is committed beside this module (``leaderboard.schema.json``); a test keeps them
equal.
"""

from __future__ import annotations

import json
from typing import Literal

from pydantic import Field, JsonValue

from ncbench.data.files import Part
from ncbench.leaderboard.intake.problems import Problem

DIGITS = 6
"""Decimals kept of a metric. The last bits of a t quantile are the machine's; six decimals of a fraction are not."""


class Measure(Part):
    """What the numbers of one name are."""

    name: str
    heading: str
    meaning: str
    unit: Literal["fraction", "LCA height", ""] = Field(
        description="a height is that of the lowest common ancestor of two classes in the class hierarchy"
    )
    decimals: int | None = Field(None, description="to show of it, of a fraction in per cent; null for four digits")
    better: Literal["higher", "lower", "neither"]
    recomputed: bool = Field(description="from the counts of each record; else it is what the record states")


class Estimate(Part):
    """A mean over seeds, in its measure's unit, with its 95% interval of Student's t; none below three seeds."""

    mean: float
    low: float | None
    high: float | None
    seeds: int


class Paired(Part):
    """The mean difference to a baseline row over the seeds both have run, as a fraction."""

    baseline: str = Field(description="id of the row compared with")
    difference: Estimate


class Source(Part):
    """One run of a row: its seed, its record's path relative to this file, and its measures on the test split."""

    seed: int
    record: str
    metrics: dict[str, float]


Verdict = Literal["agrees", "differs", "undecided", "diverged"]


class Rerun(Part):
    """A run of a row, made again from its record alone."""

    seed: int
    record: str = Field(description="path of the rerun's record, relative to this file")
    of: str = Field(description="path of the record whose run it repeats")
    by: str | None = Field(description="who made it, by git; null if git does not know")
    independent: bool = Field(description="whether somebody else made it than who placed the record that it repeats")
    value: float | None = Field(description="the primary metric on the test split; null if it diverged")
    verdict: Verdict = Field(
        description="whether it is within the spread of the row's seeds; undecided below three, unless it is equal"
    )
    other_versions: list[str]


class Plugin(Part):
    """A method, dataset or backbone: its canonical spec, and the distribution and versions it came in."""

    name: str
    spec: str
    distribution: str
    versions: list[str]


class Row(Part):
    """One configuration: its runs differ in the seed alone."""

    id: str = Field(description="first 12 digits of the SHA-256 of the configuration")
    rank: int | None = Field(
        description="by the primary metric within the section; null below three seeds, or if tuned on test"
    )
    method: Plugin
    groups: str = Field("", description="spec of what inferred the groups it trains on; empty if nothing did")
    backbone: Plugin
    epochs: int = Field(description="of the main stage; of a method that builds on another run's model, of that run")
    recipe: dict[str, JsonValue]
    distinction: str = Field(
        description="recipe settings that tell it from rows of the same method, backbone and epochs"
    )
    metrics: dict[str, Estimate] = Field(description="measure -> over the runs, on the test split")
    versus_erm: Paired | None = Field(description="on the primary metric; null without a comparable run of erm")
    tuned_on_test: str = Field(
        description="settings that were chosen by looking at test results, and how; such a row never ranks"
    )
    flags: list[str]
    runs: list[Source]
    reproduced: int = Field(description="seeds that somebody else has rerun, with a number that agrees")
    reruns: list[Rerun]

    @property
    def numbers(self) -> tuple[tuple[int, tuple[tuple[str, float], ...]], ...]:
        """Every measure of every seed: rows that are equal in these are told apart by nothing."""
        return tuple((run.seed, tuple(sorted(run.metrics.items()))) for run in self.runs)

    @property
    def learns_features(self) -> bool:
        """Whether its runs have learned their features, which no model of another run has given them."""
        return bool(self.groups) or not any(key.startswith("base.recipe.") for key in self.recipe)

    @property
    def label(self) -> str:
        """The method's spec, with that of what inferred its groups: ``"group_dro+eiil"``."""
        return f"{self.method.spec}+{self.groups}" if self.groups else self.method.spec


class Comparable(Part):
    """The labels that rows used and what chose their epoch and settings; ranks compare nothing across these."""

    train: Literal["none", "bias"]
    val: Literal["none", "bias"]
    hierarchy: bool
    selection: str
    searched: str = Field(
        "",
        description="by how many trials, and by which validation metric of theirs, settings were chosen; empty if no "
        "search chose any",
    )


class Section(Comparable):
    """Rows that used the same labels and chose their epoch and their settings by the same rules."""

    rows: list[Row]


class DatasetTable(Part):
    """All that was run on one dataset with one set of parameters, as far as records say the same of the data."""

    heading: str = Field(description="the dataset's canonical spec; numbered where there are several tables of it")
    dataset: Plugin
    parameters: dict[str, JsonValue] = Field(description="the dataset's, with those that its spec leaves out")
    fingerprint: str
    version: str | None = Field(description="of the data; null if unknown")
    todays_version: str | None = Field(description="of the data as this ncbench reads them; null if unknown")
    primary_metric: str
    published_epochs: int | None = Field(description="of the recipe in the dataset's manifest; null if unknown")
    sections: list[Section]

    @property
    def replaced(self) -> bool:
        """Whether this ncbench reads another version of the data."""
        return self.todays_version not in (None, self.version)


class Variant(Part):
    """A dataset with one set of parameters in a block, and what the methods have in common there."""

    dataset: str = Field(description="canonical spec")
    backbone: str = Field(description="canonical spec")
    epochs: int


class Block(Part):
    """What counts as one dataset, since its variants share their images and are not independent of each other."""

    dataset: str = Field(description="name of the dataset, or of the first of several made of the same images")
    variants: list[Variant]


class MeanRank(Part):
    """A method's ranks among the methods of an overview, 1 is best."""

    method: str
    distribution: str
    mean_rank: float
    ranks: list[float] = Field(description="one a block, by the score there; equals share the mean of their ranks")
    scores: list[float] = Field(description="one a block: the mean over its variants of each one's primary metric")
    rows: list[list[str]] = Field(description="ids of the rows compared, one a variant of each block")


class PairTest(Part):
    """Wilcoxon's signed-rank test of a method against the one of best mean rank, over the blocks."""

    method: str
    distribution: str
    p_value: float
    adjusted: float = Field(description="the p-value after Holm's correction for all pairs with the best")


class RankTest(Part):
    """Friedman's test of equal mean ranks over independent blocks, and which methods it tells apart.

    Demšar, JMLR 7, 2006: Iman and Davenport's F, Nemenyi's critical difference at the 5% level, and Wilcoxon's test of
    pairs.
    """

    statistic: float = Field(description="Friedman's chi-squared, corrected for ties")
    f_statistic: float | None = Field(description="Iman and Davenport's; null if infinite, all blocks agreeing")
    p_value: float = Field(description="of the F statistic")
    critical_difference: float
    alike: list[tuple[int, int]] = Field(
        description="first and last position, among the methods, of each run that the difference does not tell apart"
    )
    against_best: list[PairTest] = Field(description="every method but the first, in order")


class Overview(Comparable):
    """The methods that have a ranked row on each of several datasets, best mean rank first."""

    blocks: list[Block] = Field(description="empty if no two methods share two datasets")
    methods: list[MeanRank]
    incomplete: list[str] = Field(
        description="methods with ranked rows, but not of every variant's backbone and epochs"
    )
    test: RankTest | None = Field(description="null if the methods or the independent datasets are too few")
    untested: str = Field(description="why there is no test; empty if there is one, or nothing to compare")


class MethodSummary(Part):
    """What the card of a built-in method says of it."""

    name: str
    summary: str
    citation: str


class ReportedNumber(Part):
    """A number as its source gives it, in per cent."""

    dataset: str = Field(description="canonical spec")
    method: str
    value: float
    spread: float | None = Field(description="what the source gives after ±; null if nothing")
    seeds: int | None = Field(description="null if the source does not say")


class ReportedTable(Part):
    """Numbers of one source and one protocol, not of this archive: shown beside ours, never ranked."""

    label: str = Field(description="the source, short enough for a heading")
    source: str
    measured: bool = Field(description="true if run outside ncbench for comparison; false if copied from a paper")
    protocol: str
    metric: str
    numbers: list[ReportedNumber]


class Board(Part):
    """The leaderboard."""

    schema_version: Literal[1] = 1
    records: int = Field(description="files in the archive")
    counted: int = Field(description="records behind the rows")
    reruns: int = Field(description="records that repeat the run of one of these")
    digest: str = Field(description="SHA-256 over the names of all files in the archive, in order, one a line")
    measures: list[Measure]
    datasets: list[DatasetTable]
    overviews: list[Overview]
    methods: list[MethodSummary]
    reported: list[ReportedTable]
    left_out: list[Problem]

    def to_bytes(self) -> bytes:
        """Return the content of ``leaderboard.json``."""
        return json.dumps(self.model_dump(mode="json"), indent=1, ensure_ascii=True, allow_nan=False).encode() + b"\n"
