"""What a record must be in itself, beyond the schema: names, specs and bounds; and all that follows from it alone.

That is its id, the epochs and learning rates that its recipe gives, and the epoch that its rule chooses.
"""

from __future__ import annotations

import functools
import itertools
import json
import math
import re
from collections import Counter
from collections.abc import Mapping, Set
from typing import Any

from ncbench.contracts.errors import ConfigurationError, NcbenchError
from ncbench.contracts.groups import AGREEMENT
from ncbench.contracts.specs import Spec
from ncbench.leaderboard.intake.catalogue import BUILT_IN
from ncbench.leaderboard.intake.claim import read_claim
from ncbench.leaderboard.intake.files import is_folder_name
from ncbench.leaderboard.intake.problems import RefusedError
from ncbench.leaderboard.intake.recompute import read_cells, recomputed_accuracies
from ncbench.records.identity import id_of, run_id
from ncbench.records.record import BasePart, Record
from ncbench.training.recipe import Recipe
from ncbench.training.selection import Criterion

SUPERSEDES = "supersedes"
"""Key of a record under which it names the one it corrects."""

_HASH = re.compile(r"[0-9a-f]{64}")
_DEEPEST = 8
_LARGEST_INTEGER = 2**63
_LONGEST_STRING = 2000


def check_alone(record: Record, criteria: Mapping[str, Criterion]) -> None:
    """Check a record against itself.

    Args:
        record: What is claimed.
        criteria: The rules that may choose an epoch; nothing is known of any other.

    Raises:
        RefusedError: It does not fit, in the field named.
    """
    _check_free_values(record)
    _check_names(record)
    supersedes = (record.model_extra or {}).get(SUPERSEDES)
    if supersedes is not None and not (isinstance(supersedes, str) and _HASH.fullmatch(supersedes)):
        raise RefusedError(SUPERSEDES, "it is not the SHA-256 of a record")
    if read_claim(record) is not None and supersedes is not None:
        raise RefusedError(SUPERSEDES, "a rerun stands beside a record, and corrects none")
    criterion = _check_criterion(record, record.recipe, criteria)
    recipe = _read_recipe(record.recipe)
    of_method = record.method.kind == "method"  # how long the model of an inference is trained is its own
    if record.status == "completed" and of_method and (record.history or record.base is None):
        _check_epochs(record, recipe)
    _check_history(record, criterion)
    _check_base(record, criteria)
    _check_groups(record)
    _check_run_id(record, recipe)


def check_unedited(record: Record, recomputed: Set[str]) -> None:
    """Check what an edit by hand most likely leaves as it was: the counts behind the metrics, and the id of settings.

    Every run's own record passes, whatever its plugins are, also one that has no place on a board.

    Args:
        record: As it lies in a run's folder.
        recomputed: The metrics that follow from counts.

    Raises:
        RefusedError: They do not fit.
    """
    counted = {split: groups for split, groups in record.groups.items() if any(group.count for group in groups)}
    recomputed_accuracies(record, {split: read_cells(groups, split) for split, groups in counted.items()}, recomputed)
    _check_run_id(record, _read_recipe(record.recipe))


def _check_free_values(record: Record) -> None:
    """Bound what the schema leaves open: nesting, numbers, and text that would not show as it is."""
    parts: dict[str, Any] = {
        "reason": record.reason,
        "method.parameters": record.method.parameters,
        "dataset.parameters": record.dataset.parameters,
        "backbone.parameters": record.backbone.parameters,
        "recipe": record.recipe,
        "base": record.base and record.base.model_dump(),
        "search": record.search and record.search.model_dump(mode="json"),
        "environment": record.environment,
        "": record.model_extra,
    }
    if not 0 <= record.seed < _LARGEST_INTEGER:
        raise RefusedError("seed", "it is below 0, which 'ncbench run' refuses, or beyond 64 bits")
    for field, value in parts.items():
        _check_value(value, field, 0)


def _check_value(value: Any, field: str, depth: int) -> None:
    if depth > _DEEPEST:
        raise RefusedError(field, f"it is nested deeper than {_DEEPEST} levels")
    if isinstance(value, dict):
        for key, part in value.items():
            _check_value(key, field, depth)
            _check_value(part, f"{field}.{key}".lstrip(".") if depth < 2 else field, depth + 1)
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
    shown = {
        "run_id": record.run_id,
        "primary_metric": record.primary_metric,
        "dataset.fingerprint": record.dataset.fingerprint,
        "dataset.version": record.dataset.version or "",
        "dataset.mismatch": "".join(record.dataset.mismatch),
    }
    if not _HASH.fullmatch(record.dataset.fingerprint):
        raise RefusedError("dataset.fingerprint", "it is not a SHA-256")
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
        shown |= {
            f"{field}.spec": part.spec,
            f"{field}.plugin.distribution": part.plugin.distribution,
            f"{field}.plugin.version": part.plugin.version,
        }
    for prefix, base in record.bases.items():
        spec = _canonical_spec(base.method)
        if spec is None:
            raise RefusedError(f"{prefix}method", f"{base.method!r} is not a canonical spec")
        for key, value in spec.parameters.items():
            if base.parameters is not None and base.parameters.get(key) != value:
                raise RefusedError(f"{prefix}parameters.{key}", f"it is not what the spec {base.method!r} says")
        shown |= {f"{prefix}run_id": base.run_id, f"{prefix}method": base.method, f"{prefix}model": base.model}
    for field, text in shown.items():
        # isprintable() is false for line breaks, control characters, and marks that reorder the text around them.
        if not text.isprintable():
            raise RefusedError(field, f"{text!r} holds characters that do not print")


@functools.lru_cache(maxsize=1024)  # an archive has few specs, and reading their values as YAML is slow
def _canonical_spec(text: str) -> Spec | None:
    """Return the spec that a text is the canonical form of, or None."""
    try:
        spec = Spec.parse(text)
        return spec if str(spec) == text else None
    except (NcbenchError, ValueError, TypeError, OverflowError, RecursionError):
        return None


def _check_criterion(
    record: Record, settings: Mapping[str, Any], criteria: Mapping[str, Criterion], prefix: str = ""
) -> Criterion | None:
    """Check the settings that the board needs, and return the rule that chose the epoch; None if it is unknown."""
    selection, epochs = settings.get("selection"), settings.get("epochs")
    if not isinstance(selection, str) or not selection.isprintable() or not 0 < len(selection) <= 200:
        raise RefusedError(f"{prefix}recipe.selection", "it is not the name of a selection rule")
    if not isinstance(epochs, int) or isinstance(epochs, bool) or epochs < 1:
        raise RefusedError(f"{prefix}recipe.epochs", "it is not a number of epochs")
    criterion = criteria.get(selection)
    if criterion is not None and criterion.needs_bias and record.method.supervision.val != "bias":
        raise RefusedError("method.supervision.val", f"selection by {selection} uses bias labels, so it must be 'bias'")
    return criterion


def _read_recipe(settings: Mapping[str, Any], prefix: str = "") -> Recipe:
    """Return the recipe, its rule for choosing the epoch apart: that may be of a metric which is not known here."""
    try:
        recipe = _recipe(json.dumps({**settings, "selection": "last"}, sort_keys=True))
    except ConfigurationError as error:
        raise RefusedError(f"{prefix}recipe", str(error).rstrip(".")) from None
    built = recipe.as_dict()
    for key, value in settings.items():
        if key != "selection" and (built[key] != value or isinstance(built[key], bool) != isinstance(value, bool)):
            raise RefusedError(f"{prefix}recipe.{key}", f"it is {value!r}, and a run writes {built[key]!r}")
    return recipe


@functools.lru_cache(maxsize=1024)  # an archive has few recipes
def _recipe(text: str) -> Recipe:
    return Recipe.build(json.loads(text), owner="the recipe")


@functools.lru_cache(maxsize=1024)
def _recipe_spec(recipe: Recipe, selection: str) -> str:
    settings = recipe.spec("recipe").parameters
    return str(Spec("recipe", {**settings, **({} if selection == "last" else {"selection": selection})}))


def _check_base(record: Record, criteria: Mapping[str, Criterion]) -> None:
    """Check the recipe and the id of every run that a record builds on, as far as it says them."""
    for prefix, base in record.bases.items():
        begins = f"{base.name}-{record.dataset.name}-s{record.seed}-"
        if not base.run_id.startswith(begins):
            raise RefusedError(
                f"{prefix}run_id", f"it is {base.run_id!r}, and begins with {begins!r} by the method and the seed"
            )
        if base.recipe is None:
            continue
        _check_criterion(record, base.recipe, criteria, prefix)
        recipe = _read_recipe(base.recipe, prefix)
        expected = _run_ids(record, base.kind, base.method, recipe, str(base.recipe["selection"]), base.base)
        if base.run_id not in expected:
            reason = f"it is {base.run_id!r}, but the configuration and the seed give {expected[0]!r}"
            raise RefusedError(f"{prefix}run_id", reason)


def _check_groups(record: Record) -> None:
    """Check what a record says of the groups that it trained on, or inferred: whose they are, how many, how good."""
    groups, base = record.groups_from, record.base
    if (groups is None) != (base is None or base.kind != "groups"):
        raise RefusedError("groups_from", "a run trains on inferred groups where it builds on the run that infers them")
    if groups is not None and base is not None and (groups.base, groups.spec) != (base.run_id, base.method):
        raise RefusedError("groups_from.base", f"it is {groups.base!r} of {groups.spec!r}, but the base is another")
    if record.inferred is not None and record.method.kind != "groups":
        raise RefusedError("inferred", f"{record.method.name!r} is a method, which infers no groups")
    for place, run in record.bases.items():
        for field in ("supervision", "parameters", "recipe", "plugin") if run.kind == "groups" else ():
            if getattr(run, field) is None:
                raise RefusedError(f"{place}{field}", "it is missing of the run that infers the groups")
    found = groups or record.inferred
    if found is None:
        return
    place = "inferred" if groups is None else "groups_from"
    if not _HASH.fullmatch(found.digest):
        raise RefusedError(f"{place}.digest", "it is not the SHA-256 of the groups")
    images = sum(group.count for group in record.groups.get("train", []))
    if "train" in record.groups and sum(found.sizes) != images:
        raise RefusedError(f"{place}.sizes", f"they add up to {sum(found.sizes)}, and there are {images} images")
    for name, number in found.agreement.items():
        if name not in AGREEMENT or not (-1 if name == "adjusted_rand_index" else 0) <= number <= 1:
            raise RefusedError(f"{place}.agreement.{name}", "it is no share, and no index from -1 to 1, that is known")


def _run_ids(
    record: Record,
    kind: str,
    method: str,
    recipe: Recipe,
    selection: str,
    base: BasePart | None,
    search: Mapping[str, Any] | None = None,
) -> list[str]:
    """Return the ids that a run with the dataset, the backbone and the seed of a record may have."""
    return [
        run_id(
            method,
            record.dataset.spec,
            record.backbone.spec,
            _recipe_spec(recipe, selection),
            record.seed,
            synthetic=record.dataset.synthetic,
            allow_mismatch=allow_mismatch,
            base=None if base is None else base.run_id,
            infers=kind == "groups",
            search=search,
        )
        for allow_mismatch in ((True,) if record.dataset.mismatch else (False, True))
    ]


def _check_run_id(record: Record, recipe: Recipe) -> None:
    """Check that the id is what the configuration and the seed give, by the rule of today or the first one."""
    search = None if record.search is None else record.search.claim()
    expected = _run_ids(
        record, record.method.kind, record.method.spec, recipe, str(record.recipe["selection"]), record.base, search
    )
    if record.run_id not in expected and (record.search is not None or record.run_id != _first_run_id(record)):
        raise RefusedError(
            "run_id", f"it is {record.run_id!r}, but the configuration and the seed give {expected[0]!r}"
        )


def _first_run_id(record: Record) -> str:
    """Return the id that the first runs had, which followed from every parameter and not from specs."""
    parts = (("method", record.method), ("dataset", record.dataset), ("backbone", record.backbone))
    identity = {kind: [part.name, part.parameters] for kind, part in parts} | {
        "recipe": record.recipe,
        "seed": record.seed,
        "synthetic": record.dataset.synthetic,
    }
    return id_of(identity, record.method.name, record.dataset.name, record.seed)


def _check_epochs(record: Record, recipe: Recipe) -> None:
    """Check how long a completed run trained, and how fast it learned, against its recipe."""
    history, epochs = record.history, recipe.epochs
    stages = [len([*members]) for _, members in itertools.groupby(history, key=lambda entry: entry.stage)]
    if len(history) < epochs:
        raise RefusedError("recipe.epochs", f"it is {epochs}, but the history has {len(history)}")
    # A method of ncbench trains for the recipe's epochs at the end, after stages of its own.
    if record.method.plugin.distribution == BUILT_IN and epochs not in itertools.accumulate(reversed(stages)):
        raise RefusedError("recipe.epochs", f"it is {epochs}, but the stages of the history have {stages}")
    # How the stages share a schedule is the method's; that it begins at the recipe's rate is not.
    known = history if len(stages) == 1 else history[:1]
    for number, entry in enumerate(known):
        expected = recipe.learning_rate(number, len(history))
        if not math.isclose(entry.lr, expected, rel_tol=1e-9):
            raise RefusedError(f"history.{number}.lr", f"it is {entry.lr!r}, but the recipe gives {expected!r}")
    if "terminal_phase_epoch" in record.model_fields_set:  # the first records do not say
        measured = (
            entry.epoch
            for entry in history
            if entry.stage == history[-1].stage and entry.metrics.get("train", {}).get("accuracy") == 1
        )
        first = next(measured, None)
        if record.terminal_phase_epoch != first:
            raise RefusedError(
                "terminal_phase_epoch", f"it is {record.terminal_phase_epoch}, but by the history {first}"
            )


def _check_history(record: Record, criterion: Criterion | None) -> None:
    """Check that epochs count up from 1, and that a completed run reports the epoch its rule chooses."""
    history = record.history
    if any(entry.epoch != number for number, entry in enumerate(history, start=1)):
        raise RefusedError("history", "its epochs do not count up from 1")
    if record.status != "completed" or criterion is None:
        return
    selection = str(record.recipe["selection"])
    chosen = record.selection.get(selection)
    if chosen is None:
        raise RefusedError(f"selection.{selection}", "the epoch of the primary criterion is missing")
    last_stage = [
        (entry.epoch, entry.metrics.get("val", {}))
        for entry in itertools.takewhile(lambda entry: entry.stage == history[-1].stage, reversed(history))
    ]
    expected, tied = criterion.choose(last_stage) or (None, None)
    if not history:  # of a method that only fits something on the model of another run
        expected, tied = 0, 1
    elif chosen.tied is None and criterion.metric is not None:  # from before ties were broken: the first of equals
        ranks = [(rank[0], -rank[-1]) for each in last_stage if (rank := criterion.rank(*each)) is not None]
        expected = -max(ranks)[-1] if ranks else None
    if chosen.epoch != expected:
        raise RefusedError(
            f"selection.{selection}.epoch", f"it is {chosen.epoch}, but by the history the rule chooses {expected}"
        )
    if chosen.tied not in (None, tied):
        raise RefusedError(f"selection.{selection}.tied", f"it is {chosen.tied}, but by the history {tied} epochs are")
    if chosen.smallest_group is None or criterion.needs_groups:  # counts are of the attribute, not of inferred groups
        return
    sizes = Counter({(group.target, group.bias): 0 for group in record.groups.get("train", []) if group.count})
    sizes.update({(group.target, group.bias): group.count for group in record.groups.get("val", []) if group.count})
    smallest = min(sizes.values(), default=None)
    if chosen.smallest_group != smallest:
        raise RefusedError(
            f"selection.{selection}.smallest_group", f"it is {chosen.smallest_group}, but by the counts {smallest}"
        )
