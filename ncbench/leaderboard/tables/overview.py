"""Methods over several datasets: mean ranks, and which differences between them are more than chance.

Demšar, Statistical Comparisons of Classifiers over Multiple Data Sets, JMLR 7, 2006, section 3. Its tests take
independent blocks, so datasets made of the same images are averaged into one, whatever their parameters. On each of
them all methods have one backbone and one number of epochs, for what a longer training gains is no merit of a method.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from statistics import fmean

from ncbench.contracts.errors import counted
from ncbench.leaderboard.tables.board import (
    Block,
    Comparable,
    DatasetTable,
    MeanRank,
    Overview,
    PairTest,
    RankTest,
    Row,
    Section,
    Variant,
)
from ncbench.leaderboard.tables.rank_tests import (
    alike,
    critical_difference,
    friedman,
    holm,
    iman_davenport,
    mean_ranks,
    wilcoxon,
)

LEAST_METHODS = 3
LEAST_DATASETS = 3
"""For a test, independent ones. With three methods on two no difference of mean ranks reaches the critical one."""

DIGITS = 4
"""Decimals kept of what numerical integration gives: far fewer than it has right, so that machines agree."""

SCORE_DIGITS = 6
"""Decimals kept of a mean over variants, so that what is equal but for rounding ties."""

Method = tuple[str, str]
"""Name and distribution. A method keeps its identity whatever its parameters: those are tuned for each dataset."""

Kind = tuple[str, int]
"""Backbone and epochs: what rows must share to be compared."""

Families = Mapping[str, str]
"""Dataset name -> what it shares its images with (see :mod:`~ncbench.leaderboard.tables.families`)."""


def overviews(tables: Sequence[DatasetTable], families: Families) -> list[Overview]:
    """Compare the methods that have ranked rows on the same datasets, for each group of comparable rows.

    Args:
        tables: Every dataset's table, ranked.
        families: Of every table's dataset.

    Returns:
        One overview for each combination of labels used and selection rule that has a ranked row, in their order.
    """
    groups: defaultdict[tuple[str | bool, ...], list[tuple[DatasetTable, Section]]] = defaultdict(list)
    for table in tables:
        if table.heading != table.dataset.spec:
            continue  # on other data than the first of its spec
        for section in table.sections:
            if _ranked(section):
                groups[tuple(getattr(section, name) for name in Comparable.model_fields)].append((table, section))
    return [_overview(groups[key], families) for key in sorted(groups)]


def _overview(members: Sequence[tuple[DatasetTable, Section]], families: Families) -> Overview:
    """Compare the methods of some sections of one group, each with its dataset's table."""
    tables = {table.heading: table for table, _ in members}
    rows = {table.heading: _one_row_a_method(table, section) for table, section in members}
    family = {spec: families[table.dataset.name] for spec, table in tables.items()}
    ranked = {_identity(row) for _, section in members for row in _ranked(section)}
    methods, datasets = _complete(rows, family)
    blocks = [
        [spec for spec in datasets if family[spec] == name] for name in sorted({family[each] for each in datasets})
    ]
    scores = [
        [
            round(fmean(rows[spec][method].metrics[tables[spec].primary_metric].mean for spec in block), SCORE_DIGITS)
            for method in methods
        ]
        for block in blocks
    ]
    ranks, means = mean_ranks(scores)
    compared = [
        MeanRank(
            method=method[0],
            distribution=method[1],
            mean_rank=round(means[position], DIGITS),
            ranks=[row[position] for row in ranks],
            scores=[row[position] for row in scores],
            rows=[[rows[spec][method].id for spec in block] for block in blocks],
        )
        for position, method in enumerate(methods)
    ]
    compared.sort(key=lambda item: item.mean_rank)  # equals stay in the order of their names
    _, section = members[0]
    untested = _untested(len(methods), blocks)
    return Overview(
        **{name: getattr(section, name) for name in Comparable.model_fields},
        blocks=[
            Block(dataset=family[block[0]], variants=[_variant(spec, rows[spec][methods[0]]) for spec in block])
            for block in blocks
        ],
        methods=compared,
        incomplete=sorted({name for name, _ in ranked.difference(methods)}),
        test=_test(ranks, compared) if blocks and not untested else None,
        untested=untested,
    )


def _variant(spec: str, row: Row) -> Variant:
    return Variant(dataset=spec, backbone=row.backbone.spec, epochs=row.epochs)


def _untested(methods: int, blocks: Sequence[Sequence[str]]) -> str:
    """Return why the ranks are not put to a test, as a sentence without a full stop; empty if they are."""
    if not blocks:
        return ""
    if len(blocks) < LEAST_DATASETS:
        variants = sum(map(len, blocks))
        made = ""
        if variants > len(blocks):
            made = f" ({counted(variants, 'table')}: variants of one dataset share their images and count as one)"
        return (
            f"Friedman's test takes {LEAST_DATASETS} independent datasets or more, and here there "
            f"{'is' if len(blocks) == 1 else 'are'} {len(blocks)}{made}"
        )
    if methods < LEAST_METHODS:
        return f"Friedman's test takes {LEAST_METHODS} methods or more, and here there are {methods}"
    return ""


def _test(ranks: Sequence[Sequence[float]], compared: Sequence[MeanRank]) -> RankTest:
    count, number = len(compared), len(ranks)
    statistic, _ = friedman(ranks)
    ratio, p_value = iman_davenport(statistic, count, number)
    difference = round(critical_difference(count, number), DIGITS)
    best, *others = compared
    pairs = [
        wilcoxon([round(ours - theirs, SCORE_DIGITS) for ours, theirs in zip(best.scores, other.scores, strict=True)])
        for other in others
    ]
    return RankTest(
        statistic=round(statistic, DIGITS),
        f_statistic=round(ratio, DIGITS) if math.isfinite(ratio) else None,
        p_value=round(p_value, DIGITS),
        critical_difference=difference,
        alike=alike([item.mean_rank for item in compared], difference),
        against_best=[
            PairTest(
                method=other.method,
                distribution=other.distribution,
                p_value=round(single, DIGITS),
                adjusted=round(adjusted, DIGITS),
            )
            for other, single, adjusted in zip(others, pairs, holm(pairs), strict=True)
        ],
    )


def _one_row_a_method(table: DatasetTable, section: Section) -> dict[Method, Row]:
    """Return the ranked row that stands for each method, all of the backbone and the epochs that most methods have.

    The choice never looks at a result, which would be selection on test data. Where two kinds are as common, epochs
    that are not short of the published go first, then more of them. Of a method's rows of that kind see
    :func:`preference`.
    """
    ranked = _ranked(section)
    users = Counter(kind for kind, _ in {(_kind(row), _identity(row)) for row in ranked})

    def commonness(kind: Kind) -> tuple[int, bool, int, str]:
        backbone, epochs = kind
        short = table.published_epochs is not None and epochs < table.published_epochs
        return -users[kind], short, -epochs, backbone

    usual = min(users, key=commonness, default=None)
    found: dict[Method, Row] = {}
    for row in sorted((row for row in ranked if _kind(row) == usual), key=preference):
        found.setdefault(_identity(row), row)
    return found


def preference(row: Row) -> tuple[int, int, str]:
    """Return the key by which the first of a method's rows stands for it, without a look at its result.

    More seeds go first, then fewer parameters named, then the smallest id.
    """
    return -len(row.runs), row.method.spec.count("="), row.id


def _complete(tables: Mapping[str, Mapping[Method, Row]], family: Mapping[str, str]) -> tuple[list[Method], list[str]]:
    """Return methods and datasets of which every pair has a row: those with the most pairs; empty if there are none.

    The datasets tried are those that two methods share, which finds the best in all but contrived cases, and in
    little time in every case. Enough methods and independent datasets for a test go first, then two independent
    datasets, then the number of pairs.
    """
    run_on: defaultdict[Method, set[str]] = defaultdict(set)
    for dataset, rows in tables.items():
        for method in rows:
            run_on[method].add(dataset)
    sets = Counter(map(frozenset, run_on.values()))

    def users(datasets: Sequence[str]) -> int:
        return sum(count for shared, count in sets.items() if shared.issuperset(datasets))

    def size(datasets: Sequence[str]) -> tuple[bool, bool, int, int]:
        methods, independent = users(datasets), len({family[spec] for spec in datasets})
        testable = methods >= LEAST_METHODS and independent >= LEAST_DATASETS
        return testable, independent > 1, methods * len(datasets), len(datasets)

    candidates = sorted({tuple(sorted(one & other)) for one in sets for other in sets})
    best = max((datasets for datasets in candidates if len(datasets) > 1 < users(datasets)), key=size, default=())
    return sorted(method for method, datasets in run_on.items() if best and datasets.issuperset(best)), list(best)


def _ranked(section: Section) -> list[Row]:
    """Return the rows of methods that may be compared; the same method on inferred groups is none of its own."""
    return [row for row in section.rows if row.rank is not None and not row.groups]


def _kind(row: Row) -> Kind:
    return row.backbone.spec, row.epochs


def _identity(row: Row) -> Method:
    return row.method.name, row.method.distribution
