"""One record, inspected: from bytes nobody vouches for to what the board needs of them."""

from __future__ import annotations

import functools
import hashlib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pydantic_core
from pydantic import JsonValue

from ncbench.contracts.errors import NcbenchError
from ncbench.contracts.specs import Spec
from ncbench.leaderboard.intake.canonical import canonical, content_hash, parse_record
from ncbench.leaderboard.intake.catalogue import (
    BUILT_IN,
    THEORY,
    Catalogue,
    check_against_card,
    check_against_manifest,
    known_selection,
)
from ncbench.leaderboard.intake.files import is_folder_name, record_path
from ncbench.leaderboard.intake.heights import stated_heights
from ncbench.leaderboard.intake.problems import RefusedError, plain
from ncbench.leaderboard.intake.recompute import Cells, read_cells, recomputed_accuracies
from ncbench.leaderboard.tables.curves import History, read_history
from ncbench.records.record import ACCURACIES, Epoch, Record
from ncbench.training.selection import Criterion, find_criterion

SUPERSEDES = "supersedes"
_HASH = re.compile(r"[0-9a-f]{64}")
_DEEPEST = 8
_LARGEST_INTEGER = 2**63
_LONGEST_STRING = 2000


@dataclass(frozen=True, slots=True)
class Named:
    """A method, dataset or backbone as a record names it."""

    name: str
    spec: str
    distribution: str
    version: str


@dataclass(frozen=True, slots=True)
class Exclusion:
    """Why a valid record does not count."""

    field: str
    reason: str


@dataclass(frozen=True, slots=True)
class Entry:
    """What the board needs of a valid record.

    Args:
        digest: SHA-256 of the content, which names the file.
        path: Of the file, relative to the leaderboard folder.
        supersedes: Digest of the record this one corrects, or None.
        configuration: SHA-256 of everything that determines the result but the seed.
        supervision: (train, val, hierarchy).
        selection: The rule that chose the epoch.
        epochs: Of the recipe.
        published_epochs: Of the recipe in the dataset's manifest; None if unknown.
        parameters: ``"method"``, ``"dataset"`` and ``"backbone"`` -> every parameter, defaults included.
        recipe: Every setting.
        accuracies: Of the test split, recomputed; empty if the record does not count.
        heights: Of the test split, in the class hierarchy, as the record states them; empty if it does not count.
        totals: SHA-256 of the images in every cell of every split.
        history: SHA-256 of the losses of every epoch; None without epochs.
        drawn: The curves of the history that the pages draw.
        note: What a reader should know of the supervision; may be empty.
        exclusion: Why it does not count; None if nothing is known against it.
    """

    digest: str
    path: str
    supersedes: str | None
    run_id: str
    status: str
    method: Named
    dataset: Named
    backbone: Named
    configuration: str
    seed: int
    fingerprint: str
    primary_metric: str
    supervision: tuple[str, str, bool]
    selection: str
    epochs: int
    published_epochs: int | None
    parameters: Mapping[str, Mapping[str, JsonValue]]
    recipe: Mapping[str, JsonValue]
    accuracies: Mapping[str, float]
    heights: Mapping[str, float]
    totals: str
    history: str | None
    drawn: History
    ncbench_version: str
    note: str
    exclusion: Exclusion | None


def inspect(data: bytes, catalogue: Catalogue) -> Entry:
    """Check everything that can be told from one record alone.

    Args:
        data: The file's content.
        catalogue: The cards to compare with.

    Raises:
        RefusedError: It is not a valid record, or contradicts itself. The first fault is named.
    """
    record = parse_record(data)
    _check_free_values(record)
    _check_names(record)
    digest = content_hash(data)
    supersedes = (record.model_extra or {}).get(SUPERSEDES)
    if supersedes is not None and not (isinstance(supersedes, str) and _HASH.fullmatch(supersedes)):
        raise RefusedError(SUPERSEDES, "it is not the SHA-256 of a record")
    selection, epochs = _recipe_values(record)
    cells = {str(split): read_cells(groups, split) for split, groups in record.groups.items()}
    accuracies = recomputed_accuracies(record, cells)
    heights = stated_heights(record, accuracies)
    _check_history(record, selection)

    exclusion, note, published_epochs = _own_exclusion(record, selection, accuracies), "", None
    if exclusion is None:
        try:
            note = check_against_card(record, catalogue, selection)
            manifest = check_against_manifest(record, catalogue, cells)
            configured = manifest.recipe.get("epochs") if manifest else None
            published_epochs = configured if isinstance(configured, int) else None
        except RefusedError as error:
            # Not refused: the file may be right, and the card or the manifest another than when it was made.
            exclusion = Exclusion(error.field, error.reason)
    supervision = record.method.supervision
    version = record.environment.get("ncbench")
    return Entry(
        digest=digest,
        path=record_path(record.dataset.name, record.method.name, digest),
        supersedes=supersedes,
        run_id=record.run_id,
        status=record.status,
        method=_named(record.method),
        dataset=_named(record.dataset),
        backbone=_named(record.backbone),
        configuration=_configuration(record),
        seed=record.seed,
        fingerprint=record.dataset.fingerprint,
        primary_metric=record.primary_metric,
        supervision=(supervision.train, supervision.val, supervision.hierarchy),
        selection=selection,
        epochs=epochs,
        published_epochs=published_epochs,
        parameters={
            "method": record.method.parameters,
            "dataset": record.dataset.parameters,
            "backbone": record.backbone.parameters,
        },
        recipe=record.recipe,
        accuracies={name: accuracies[name] for name in ACCURACIES if name in accuracies} if exclusion is None else {},
        heights=heights if exclusion is None else {},
        totals=_totals(cells),
        history=_history_digest(record.history),
        drawn=read_history(record),
        ncbench_version=version if isinstance(version, str) else "",
        note=note,
        exclusion=exclusion,
    )


def _check_free_values(record: Record) -> None:
    """Bound what the schema leaves open: nesting, numbers, and text that would not show as it is."""
    parts: dict[str, Any] = {
        "reason": record.reason,
        "method.parameters": record.method.parameters,
        "dataset.parameters": record.dataset.parameters,
        "backbone.parameters": record.backbone.parameters,
        "recipe": record.recipe,
        "environment": record.environment,
        **(record.model_extra or {}),
    }
    if not -_LARGEST_INTEGER <= record.seed < _LARGEST_INTEGER:
        raise RefusedError("seed", "it is beyond 64 bits")
    for field, value in parts.items():
        _check_value(value, field, 0)


def _check_value(value: Any, field: str, depth: int) -> None:
    if depth > _DEEPEST:
        raise RefusedError(field, f"it is nested deeper than {_DEEPEST} levels")
    if isinstance(value, dict):
        for key, part in value.items():
            _check_value(key, field, depth)
            _check_value(part, f"{field}.{key}" if depth < 2 else field, depth + 1)
    elif isinstance(value, list):
        for part in value:
            _check_value(part, field, depth + 1)
    elif isinstance(value, str):
        if len(value) > _LONGEST_STRING:
            raise RefusedError(field, f"a text of {len(value)} characters is too long")
    elif isinstance(value, int):
        if not -_LARGEST_INTEGER <= value < _LARGEST_INTEGER:
            raise RefusedError(field, "a number is beyond 64 bits")
    elif isinstance(value, float) and not math.isfinite(value):
        raise RefusedError(field, "a number is not finite")


def _check_names(record: Record) -> None:
    """Check what is shown and what becomes a path: names are names, specs are canonical, text is printable."""
    for field, part in (("method", record.method), ("dataset", record.dataset), ("backbone", record.backbone)):
        if not is_folder_name(part.name):
            raise RefusedError(
                f"{field}.name", f"{part.name!r} is not a name (lower-case letters, digits, underscores)"
            )
        spec = _canonical_spec(part.spec)
        if spec is None or spec.name != part.name:
            raise RefusedError(f"{field}.spec", f"{part.spec!r} is not a canonical spec of {part.name!r}")
        for key, value in spec.parameters.items():
            if key not in part.parameters or part.parameters[key] != value:
                raise RefusedError(f"{field}.parameters.{key}", f"it is not what the spec {part.spec!r} says")
        for key, text in (("distribution", part.plugin.distribution), ("version", part.plugin.version)):
            _check_printable(f"{field}.plugin.{key}", text)
        _check_printable(f"{field}.spec", part.spec)
    for field in ("run_id", "primary_metric"):
        _check_printable(field, getattr(record, field))
    _check_printable("dataset.fingerprint", record.dataset.fingerprint)
    for phrase in record.dataset.mismatch:
        _check_printable("dataset.mismatch", phrase)


@functools.lru_cache(maxsize=1024)  # an archive has few specs, and reading their values as YAML is slow
def _canonical_spec(text: str) -> Spec | None:
    """Return the spec that a text is the canonical form of, or None."""
    try:
        spec = Spec.parse(text)
        return spec if str(spec) == text else None
    except (NcbenchError, ValueError, TypeError, OverflowError, RecursionError):
        return None


def _check_printable(field: str, text: str) -> None:
    # isprintable() is false for line breaks, control characters, and marks that reorder the text around them.
    if not text.isprintable():
        raise RefusedError(field, f"{text!r} holds characters that do not print")


def _recipe_values(record: Record) -> tuple[str, int]:
    """Return the selection rule and the epochs of the recipe."""
    selection, epochs = record.recipe.get("selection"), record.recipe.get("epochs")
    if not isinstance(selection, str) or not selection.isprintable() or not 0 < len(selection) <= 200:
        raise RefusedError("recipe.selection", "it is not the name of a selection rule")
    if not isinstance(epochs, int) or isinstance(epochs, bool) or epochs < 1:
        raise RefusedError("recipe.epochs", "it is not a number of epochs")
    if known_selection(selection) and find_criterion(selection).needs_bias and record.method.supervision.val != "bias":
        raise RefusedError("method.supervision.val", f"selection by {selection} uses bias labels, so it must be 'bias'")
    return selection, epochs


def _check_history(record: Record, selection: str) -> None:
    """Check that epochs count up from 1, and that a completed run reports the epoch its rule chooses."""
    history = record.history
    if any(entry.epoch != number for number, entry in enumerate(history, start=1)):
        raise RefusedError("history", "its epochs do not count up from 1")
    if record.status != "completed" or not known_selection(selection):
        return
    chosen = record.selection.get(selection)
    if chosen is None:
        raise RefusedError(f"selection.{selection}", "the epoch of the primary criterion is missing")
    expected = _chosen_epoch(history, find_criterion(selection))
    if chosen.epoch != expected:
        raise RefusedError(
            f"selection.{selection}.epoch", f"it is {chosen.epoch}, but by the history the rule chooses {expected}"
        )


def _chosen_epoch(history: list[Epoch], criterion: Criterion) -> int | None:
    """Return the first epoch of the last stage with the best validation metric; without a metric, the last one."""
    if criterion.metric is None:
        return len(history)
    best: tuple[float, int] | None = None
    for entry in reversed(history):
        if entry.stage != history[-1].stage:
            break
        score = entry.metrics.get("val", {}).get(criterion.metric)
        if score is not None and (best is None or criterion.sign * score >= best[0]):
            best = (criterion.sign * score, entry.epoch)
    return None if best is None else best[1]


def _own_exclusion(record: Record, selection: str, accuracies: Mapping[str, float]) -> Exclusion | None:
    """Return why a record that is sound in itself does not count."""
    if record.dataset.synthetic:
        return Exclusion("dataset.synthetic", "the run used generated data")
    if record.dataset.mismatch:
        return Exclusion(
            "dataset.mismatch", plain(f"the data are not the released ones: {'; '.join(record.dataset.mismatch)}")
        )
    if (record.dataset.name, record.dataset.plugin.distribution) == (THEORY, BUILT_IN):
        return Exclusion(
            "dataset.name", f"{THEORY!r} is a model of the theory, without test images; there is nothing to rank"
        )
    if record.status != "completed":
        return Exclusion("status", f"the run is {record.status}, not completed")
    if not known_selection(selection):
        return Exclusion(
            "recipe.selection", f"{selection!r} is not a rule of ncbench; an epoch chosen on test data never ranks"
        )
    for split in ("train", "test"):
        if split not in record.groups:
            return Exclusion(f"groups.{split}", "there are no counts to recompute the accuracies from")
    primary = record.primary_metric
    if primary not in ACCURACIES or primary not in accuracies:
        return Exclusion("primary_metric", f"{primary!r} cannot be recomputed from the counts")
    if primary not in record.metrics.get("test", {}):
        return Exclusion(f"metrics.test.{primary}", "the record does not state its primary metric")
    return None


def _named(part: Any) -> Named:
    return Named(part.name, part.spec, part.plugin.distribution, part.plugin.version)


def _configuration(record: Record) -> str:
    """Return a hash of what determines the result but the seed.

    Versions are left out, so a rerun is a correction; so are parameters at their defaults, so that one that is added
    later does not part new seeds from old ones.
    """
    parts = [[part.spec, part.plugin.distribution] for part in (record.method, record.dataset, record.backbone)]
    data = [record.dataset.synthetic, *([record.dataset.mismatch] if record.dataset.mismatch else [])]
    return hashlib.sha256(canonical([*parts, *data, record.recipe])).hexdigest()


def _totals(cells: Mapping[str, Cells]) -> str:
    counts = [(split, part.label, part.count) for split, part in sorted(cells.items())]
    return hashlib.sha256(pydantic_core.to_json(counts)).hexdigest()


def _history_digest(history: list[Epoch]) -> str | None:
    """Return a hash of every epoch's losses: no two seeds give the same to the last digit."""
    if not history:
        return None
    return hashlib.sha256(pydantic_core.to_json([entry.losses for entry in history])).hexdigest()
