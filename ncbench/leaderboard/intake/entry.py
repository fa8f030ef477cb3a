"""One record, inspected: from bytes nobody vouches for to what the board needs of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import pydantic_core

from ncbench.contracts.errors import PluginError
from ncbench.discovery.registry import plural
from ncbench.leaderboard.intake.canonical import canonical, content_hash, parse_record
from ncbench.leaderboard.intake.catalogue import (
    BUILT_IN,
    THEORY,
    Catalogue,
    check_against_card,
    check_against_manifest,
)
from ncbench.leaderboard.intake.claim import Claim, read_claim
from ncbench.leaderboard.intake.files import record_path
from ncbench.leaderboard.intake.problems import Problem, RefusedError, plain
from ncbench.leaderboard.intake.recompute import Sizes, read_cells, recomputed_accuracies
from ncbench.leaderboard.intake.soundness import SUPERSEDES, check_alone
from ncbench.leaderboard.intake.stated import check_chosen_metrics, check_ranges, check_settings, stated_numbers
from ncbench.leaderboard.tables.curves import History, read_history
from ncbench.leaderboard.tables.tuning import tuned_on_test
from ncbench.records.record import BasePart, Record, Selected

Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Entry:
    """What the board needs of a valid record.

    Args:
        record: Without its counts, history and metrics, which are long.
        digest: SHA-256 of the content, which names the file.
        path: Of the file, relative to the leaderboard folder.
        configuration: SHA-256 of everything that determines the result but the seed, the data included.
        published_epochs: Of the recipe in the dataset's manifest; None if unknown.
        numbers: Of the test split: accuracies, recomputed, and what else the record states; empty if it does not count.
        data: SHA-256 of what it says of the data: their origin, their fingerprint, the images in every cell of every
            split, and the primary metric.
        sizes: Split -> its groups, with the images of each.
        one_class: Whether all test images of one class are right and none of the others.
        version: Of the data: as the manifest knows their fingerprint, else as the record says; None if unknown.
        todays_version: Of the data as they are read today; None if unknown.
        training: SHA-256 of what no two seeds share to the last digit: the losses of every epoch, or where there are no
            epochs the counts and the metrics.
        history: The curves that the pages draw.
        tuned_on_test: Which settings were chosen by looking at test results, and how; empty if none is known to be.
        note: What a reader should know of the supervision; may be empty.
        exclusion: Why it does not count; None if nothing is known against it.
    """

    record: Record
    digest: str
    path: str
    configuration: str
    published_epochs: int | None
    numbers: Mapping[str, float]
    data: str
    sizes: Mapping[str, Sizes]
    one_class: bool
    version: str | None
    todays_version: str | None
    training: str
    history: History
    tuned_on_test: str
    note: str
    exclusion: Problem | None

    @property
    def supersedes(self) -> str | None:
        """Digest of the record that this one corrects, if it corrects one."""
        return (self.record.model_extra or {}).get(SUPERSEDES)

    @property
    def claim(self) -> Claim | None:
        """What it says of the run that it repeats; None if it is of a run of its own."""
        return read_claim(self.record)

    @property
    def current(self) -> bool:
        """Whether the data are known to be those of today."""
        return self.version is not None and self.version == self.todays_version

    @property
    def selection(self) -> str:
        """The rule that chose the epoch."""
        return str(self.record.recipe["selection"])

    @property
    def searched(self) -> str:
        """By how many trials and what its settings were chosen; empty if they were given by hand."""
        search = self.record.search
        return "" if search is None else str(search)

    @property
    def epochs(self) -> int:
        """Epochs that its features were trained for: those of the run whose model it builds on, if it builds on one."""
        epochs: Any = self.record.recipe["epochs"]
        for base in self.record.bases.values():
            if base.kind == "groups":
                break
            epochs = (base.recipe or {}).get("epochs", epochs)
        return int(epochs)

    @property
    def primary(self) -> float:
        """The primary metric on the test split."""
        return self.numbers[self.record.primary_metric]


def inspect(data: bytes, catalogue: Catalogue) -> Entry:
    """Check everything that can be told from one record alone.

    Args:
        data: The file's content.
        catalogue: The cards to compare with.

    Raises:
        RefusedError: It is not a valid record, or contradicts itself. The first fault is named.
    """
    record = parse_record(data)
    check_alone(record, catalogue.criteria)
    check_ranges(record, catalogue.bounds)
    check_settings(record, catalogue.criteria)
    digest = content_hash(data)
    path = record_path(record.dataset.name, record.method.name, digest)
    cells = {str(split): read_cells(groups, split) for split, groups in record.groups.items()}
    accuracies = recomputed_accuracies(record, cells, catalogue.recomputed)
    stated = stated_numbers(record, accuracies, catalogue)
    known = catalogue.known("methods", record.method.name, record.method.plugin.distribution)
    card = None if known is None else known.card
    check_chosen_metrics(record, catalogue.recomputed, refits=card is not None and card.refits)
    numbers = {name: accuracies[name] for name in catalogue.shown if name in accuracies} | stated

    said = [record.dataset.plugin.distribution, record.dataset.fingerprint, record.primary_metric]
    on = _hash([*said, *((split, part.label, part.count) for split, part in sorted(cells.items()))])
    note, tuned, published_epochs = "", "", None
    version, todays_version = record.dataset.version, None
    excluded = _exclusion(record, accuracies, catalogue)
    if excluded is None:
        try:
            note = check_against_card(record, catalogue)
            manifest = check_against_manifest(record, catalogue, cells)
            configured = manifest.recipe.get("epochs") if manifest else None
            published_epochs = configured if isinstance(configured, int) else None
            if manifest is not None:
                version = manifest.version_of(record.dataset.spec, record.dataset.fingerprint) or version
                todays_version = manifest.version
            of_bases = {
                prefix: own
                for prefix, base in record.bases.items()
                for own in catalogue.own(plural(base.kind), base.name)
            }
            tuned = tuned_on_test(record, card, manifest, of_bases)
        except RefusedError as error:
            # Not refused: the file may be right, and the card or the manifest another than when it was made.
            excluded = error.field, error.reason
        except PluginError as error:  # a package that its dataset imports is not installed
            excluded = "", f"it cannot be checked here: {plain(str(error)).rstrip('.')}"
    return Entry(
        record=record.model_copy(update={"groups": {}, "history": [], "metrics": {}, "selection": _chosen(record)}),
        digest=digest,
        path=path,
        configuration=_configuration(record, on),
        published_epochs=published_epochs,
        numbers=numbers if excluded is None else {},
        data=on,
        sizes={split: part.sizes for split, part in cells.items()},
        one_class="test" in cells and cells["test"].one_class,
        version=version,
        todays_version=todays_version,
        training=_hash([epoch.losses for epoch in record.history] or [record.groups, record.metrics]),
        history=read_history(record),
        tuned_on_test=tuned,
        note=note,
        exclusion=None if excluded is None else Problem(path, *excluded, refused=False),
    )


def _chosen(record: Record) -> dict[str, Selected]:
    """Return the epoch that the primary criterion chose, without its metrics."""
    rule = str(record.recipe["selection"])
    return {rule: record.selection[rule].model_copy(update={"metrics": {}})} if rule in record.selection else {}


def grouped(entries: Iterable[Entry], key: Callable[[Entry], Key]) -> dict[Key, list[Entry]]:
    """Group entries by a key, in the order in which the keys come."""
    groups: defaultdict[Key, list[Entry]] = defaultdict(list)
    for entry in entries:
        groups[key(entry)].append(entry)
    return groups


def _exclusion(record: Record, accuracies: Mapping[str, float], catalogue: Catalogue) -> tuple[str, str] | None:
    """Return why a record that is sound in itself does not count, as field and reason."""
    primary = record.primary_metric
    judged = catalogue.shown.get(primary)
    if record.dataset.synthetic:
        return "dataset.synthetic", "the run used generated data"
    if record.dataset.mismatch:
        return "dataset.mismatch", plain(f"the data are not the released ones: {'; '.join(record.dataset.mismatch)}")
    if record.plugin_files:
        names = plain(", ".join(record.plugin_files))
        return "plugin_files", f"the run used {names}, a file of its author's that no package holds"
    if any(manifest.yours for manifest in catalogue.manifests([record.dataset.name]).values()):
        return "dataset.name", f"{record.dataset.name!r} is whatever data a user has; there is nothing to rank"
    if (record.dataset.name, record.dataset.plugin.distribution) == (THEORY, BUILT_IN):
        return "dataset.name", f"{THEORY!r} is a model of the theory, without test images; there is nothing to rank"
    if record.method.kind == "groups":
        return "method.kind", f"{record.method.name!r} infers groups, which others train on; it is no method to rank"
    if record.status != "completed":
        return "status", f"the run is {record.status}, not completed"
    for prefix, recipe in {"": record.recipe, **{place: base.recipe for place, base in record.bases.items()}}.items():
        if recipe is None:
            return f"{prefix}recipe", "the record does not say with which recipe the run it builds on was made"
        selection = str(recipe["selection"])
        if selection not in catalogue.criteria:
            reason = f"{selection!r} is not a rule of ncbench; an epoch chosen on test data never ranks"
            return f"{prefix}recipe.selection", reason
    if record.search is not None and record.search.criterion not in catalogue.criteria:
        return "search.criterion", f"{record.search.criterion!r} is not a rule of ncbench"
    for split in ("train", "test"):
        if split not in record.groups:
            return f"groups.{split}", "there are no counts to recompute the accuracies from"
    if primary not in accuracies or judged is None or judged.direction != "higher":
        return "primary_metric", f"{primary!r} cannot be recomputed from the counts"
    if primary not in record.metrics.get("test", {}):
        return f"metrics.test.{primary}", "the record does not state its primary metric"
    return None


def _hash(value: Any) -> str:
    return content_hash(pydantic_core.to_json(value))


def _configuration(record: Record, data: str) -> str:
    """Return a hash of what determines the result but the seed.

    Versions are left out, so a rerun is a correction; so are parameters at their defaults, so that one that is added
    later does not part new seeds from old ones.
    """
    parts = [[part.spec, part.plugin.distribution] for part in (record.method, record.dataset, record.backbone)]
    bases = [
        [base.method, base.recipe, *(["groups"] if base.kind == "groups" else []), *_others(base)]
        for base in record.bases.values()
    ]
    searched = [] if record.search is None else [record.search.claim()]
    return content_hash(
        canonical([*parts, data, record.dataset.synthetic, record.dataset.mismatch, record.recipe, *bases, *searched])
    )


def _others(base: BasePart) -> list[str]:
    """Return whose the method of a base is; nothing if it is ncbench's own, as it is in records that don't say."""
    return [] if base.plugin is None or base.plugin.distribution == BUILT_IN else [base.plugin.distribution]
