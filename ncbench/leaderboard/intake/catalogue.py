"""What the installed plugins say of themselves, for comparison with what records say of them."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ncbench.contracts.cards import Measure, MethodCard, Supervision
from ncbench.contracts.errors import ConfigurationError, DataError
from ncbench.data.sources.manifest import Manifest, load_manifest
from ncbench.discovery.registry import Registered, plural, registry
from ncbench.leaderboard.intake.problems import RefusedError, plain
from ncbench.leaderboard.intake.recompute import Cells
from ncbench.records.record import Record
from ncbench.training.selection import Criterion, criteria

if TYPE_CHECKING:
    from ncbench.contracts.dataset import Dataset, DatasetParameters

BUILT_IN = "ncbench"
"""The distribution whose cards every build knows."""

DEFAULT = "accuracy"
"""The metric that every image classifier has."""

THEORY = "ufm"
"""The built-in dataset that has no images: its test split is a training sample of each class."""


@dataclass(frozen=True)
class Catalogue:
    """Cards by kind and name.

    A build consults the built-in cards alone, whatever else is installed: of one history it must give the same bytes
    on every machine. A submission consults them all.

    Args:
        cards: ``"methods"``, ``"datasets"``, ``"backbones"``, ``"metrics"`` -> name -> every card of that name.
    """

    cards: Mapping[str, Mapping[str, list[Registered]]]

    @classmethod
    def built_in(cls) -> Catalogue:
        """Return the cards of ncbench's own distribution."""
        return cls(
            {
                kind: {name: list(filter(_is_own, found)) for name, found in by_name.items()}
                for kind, by_name in registry().cards.items()
            }
        )

    @classmethod
    def installed(cls) -> Catalogue:
        """Return the cards of every plugin that is installed here."""
        return cls(registry().cards)

    def own(self, kind: str, name: str) -> list[Any]:
        """Return ncbench's own card of a name; none if it has no such card."""
        return [found.card for found in self.cards.get(kind, {}).get(name, []) if _is_own(found)]

    def manifests(self, names: Iterable[str]) -> dict[str, Manifest]:
        """Return the manifests of those of some datasets that are ncbench's own."""
        found = {name: _read_manifest(card.manifest) for name in names for card in self.own("datasets", name)}
        return {name: manifest for name, manifest in found.items() if manifest is not None}

    @functools.cached_property
    def measures(self) -> Mapping[str, Measure]:
        """Every metric that ncbench's own cards describe; of any other a build may know nothing but its name."""
        cards = [card for name in self.cards["metrics"] for card in self.own("metrics", name)]
        return {name: measure for card in cards for name, measure in card.metrics.items()}

    @functools.cached_property
    def bounds(self) -> Mapping[str, tuple[float, float]]:
        """The least and the largest number that each of them can be."""
        return {name: measure.bounds for name, measure in self.measures.items()}

    @functools.cached_property
    def criteria(self) -> Mapping[str, Criterion]:
        """The rules that may choose an epoch: those of ncbench's own metrics, none of which looks at the test split."""
        return criteria(self.measures)

    @functools.cached_property
    def recomputed(self) -> Set[str]:
        """Those that follow from the counts of groups."""
        return {name for name, measure in self.measures.items() if measure.from_counts}

    @functools.cached_property
    def shown(self) -> Mapping[str, Measure]:
        """Those that tables show of the test split, in the order they do.

        The default goes first, beside it what has no share of images for its unit, as the height of mistakes.
        """
        found = {
            name: measure
            for name, measure in self.measures.items()
            if "test" in measure.splits and measure.shown_in != "record"
        }
        return dict(sorted(found.items(), key=lambda item: (item[0] != DEFAULT, item[1].from_counts)))

    def known(self, kind: str, name: str, distribution: str) -> Registered | None:
        """Return the card of that name and distribution, or None if it is not known here."""
        found = self.cards.get(kind, {}).get(name, [])
        return next((registered for registered in found if registered.plugin.distribution == distribution), None)

    def find(self, kind: str, name: str, distribution: str) -> Registered | None:
        """Return that card, or None, as :meth:`known`.

        Raises:
            RefusedError: The name is one of ncbench's own, and the distribution another.
        """
        if distribution != BUILT_IN and self.own(kind, name):
            singular = kind.removesuffix("s")
            raise RefusedError(
                f"{singular}.plugin.distribution", f"{name!r} is a {singular} of {BUILT_IN}, not of {distribution!r}"
            )
        return self.known(kind, name, distribution)


def check_against_card(record: Record, catalogue: Catalogue) -> str:
    """Compare the supervision a record states with its method's card.

    Returns:
        What a reader should know: that the card is not known here, or that less is stated than the card allows; else
        an empty string.

    Raises:
        RefusedError: The record states more than the card, its selection rule and its base allow, or less than these
            two need; or it bears a name of ncbench's own without being it.
    """
    catalogue.find("backbones", record.backbone.name, record.backbone.plugin.distribution)
    unknown = _unknown_bases(record, catalogue)
    method = catalogue.find("methods", record.method.name, record.method.plugin.distribution)
    if method is None:
        return "supervision as its author declares it: the method's card is not part of ncbench"
    _check_base(record, method.card)
    stated = Supervision(**record.method.supervision.model_dump())
    allowed = method.card.supervision
    if record.groups_from is not None:  # no label is read but what the inference has read
        allowed = Supervision(hierarchy=allowed.hierarchy)
    if _uses_val_bias(record, catalogue):
        allowed = replace(allowed, val="bias")
        if stated.val != "bias":
            how = f"{' or '.join(set(_rules(record)) - {'last'}) or 'fitting'} on {record.dataset.spec}"
            raise RefusedError("method.supervision.val", f"{how} uses bias labels, so it must be 'bias'")
    if record.base is not None and record.base.supervision is not None:
        of_base = Supervision(**record.base.supervision.model_dump())
        allowed = allowed.joined(of_base)
        if not stated.covers(of_base):
            raise RefusedError("method.supervision", f"it leaves out labels that {record.base.run_id} used")
    if not allowed.covers(stated):
        raise RefusedError("method.supervision", f"it goes beyond the card of {record.method.name!r}")
    if unknown:
        return f"supervision as its author declares it: the card of {unknown[0]} is not part of ncbench"
    if not stated.covers(allowed):
        unused = [
            *(["bias labels of training images"] if stated.train != allowed.train else []),
            *(["bias labels of validation images"] if stated.val != allowed.val else []),
            *(["class hierarchy"] if stated.hierarchy != allowed.hierarchy else []),
        ]
        return f"used no {' and no '.join(unused)}, though its card allows it"
    return ""


def _unknown_bases(record: Record, catalogue: Catalogue) -> list[str]:
    """Return the names of the methods of the runs that it builds on whose cards are not known here.

    Raises:
        RefusedError: One bears a name of ncbench's own without being it.
    """
    unknown = []
    for place, base in record.bases.items():
        if base.plugin is None:  # from before records said whose a base is, when none inferred groups
            continue
        try:
            found = catalogue.find(plural(base.kind), base.name, base.plugin.distribution)
        except RefusedError as error:
            raise RefusedError(f"{place}plugin.distribution", error.reason) from None
        if found is None:
            unknown.append(plain(base.name))
    return unknown


def _check_base(record: Record, card: MethodCard) -> None:
    """Check that a record builds on what its method builds on, and has epochs if that trains."""
    base = "" if record.base is None or record.base.kind == "groups" else record.base.name
    if base != card.builds_on:
        ours, theirs = base or "nothing", card.builds_on or "nothing"
        raise RefusedError("base", f"it builds on {ours}, and {card.name!r} on {theirs}")
    if card.trains != bool(record.history):
        raise RefusedError("history", f"{card.name!r} {'trains' if card.trains else 'does not train'} by epochs")


def _uses_val_bias(record: Record, catalogue: Catalogue) -> bool:
    """Return whether the run went by bias labels of validation images, or by a split that was made by them."""

    def made_by_bias() -> bool:
        registered = catalogue.find("datasets", record.dataset.name, record.dataset.plugin.distribution)
        if registered is None:
            return False
        kind, parameters = _load_dataset(registered, record)
        return kind.val_uses_bias(parameters.own)

    return any(catalogue.criteria[rule].uses_bias("val" in record.fitted, made_by_bias) for rule in _rules(record))


def _rules(record: Record) -> list[str]:
    """Return the criteria by which something was chosen: the epoch, and settings if they were searched."""
    return [str(record.recipe["selection"]), *([] if record.search is None else [record.search.criterion])]


def _load_dataset(registered: Registered, record: Record) -> tuple[type[Dataset], DatasetParameters]:
    """Import a record's dataset, and return it with its parameters.

    Raises:
        RefusedError: It has no such parameters.
    """
    from ncbench.contracts.dataset import DatasetParameters

    kind: type[Dataset] = registered.card.load()
    try:
        return kind, DatasetParameters.build(kind, record.dataset.parameters, owner=record.dataset.name)
    except ConfigurationError as error:
        raise RefusedError("dataset.parameters", str(error)) from error


def check_against_manifest(record: Record, catalogue: Catalogue, cells: Mapping[str, Cells]) -> Manifest | None:
    """Compare the primary metric, the data and the totals of a record with its dataset's manifest, and return that.

    Raises:
        RefusedError: They differ, or the dataset has no such parameters.
    """
    registered = catalogue.find("datasets", record.dataset.name, record.dataset.plugin.distribution)
    manifest = None if registered is None else _read_manifest(registered.card.manifest)
    if registered is None or manifest is None:
        return None
    if record.primary_metric != manifest.primary_metric:
        raise RefusedError("primary_metric", f"the manifest of {manifest.name!r} has {manifest.primary_metric!r}")
    known = manifest.version_of(record.dataset.spec, record.dataset.fingerprint) is not None
    if manifest.fingerprint(record.dataset.spec) is not None and not known:
        raise RefusedError("dataset.fingerprint", f"the manifest of {manifest.name!r} has another for these data")
    if _difference(manifest, cells, thinned=False) is not None:
        # Only a record that differs costs the import of its dataset, which knows what its parameters change.
        kind, parameters = _load_dataset(registered, record)
        held = manifest.counting(kind.counts_hold(parameters.own))
        difference = _difference(held, cells, thinned=bool(parameters.thinning))
        if difference is not None:
            raise RefusedError(*difference)
    return manifest


@functools.cache
def _read_manifest(reference: str) -> Manifest | None:
    try:
        return load_manifest(reference)
    except DataError:
        return None  # a dataset whose manifest is broken cannot be checked against it


def _difference(manifest: Manifest, cells: Mapping[str, Cells], thinned: bool) -> tuple[str, str] | None:
    """Return where a record's totals differ from its manifest's, and how; None if they do not.

    Args:
        manifest: With the counts that hold.
        cells: Of every split.
        thinned: Whether training images are left out, so that the manifest only says how many there may be.
    """
    for split, expected in manifest.counts.items():
        # A validation split that the protocol does not have was carved out of the training images.
        carved = split == "train" and "val" not in manifest.counts
        groups: Counter[tuple[int, int | None]] = Counter()
        classes: Counter[int] = Counter()
        for part in (split, "val") if carved else (split,):
            if part in cells:
                for label, count in zip(cells[part].label, cells[part].count, strict=True):
                    groups[label] += count
                    classes[label[0]] += count
        images = classes.total()
        if thinned and split == "train":
            if images > expected.images:
                return f"groups.{split}", f"{images} images, but the manifest has no more than {expected.images}"
            continue
        if images != expected.images:
            return f"groups.{split}", f"{images} images, but the manifest has {expected.images}"
        if expected.classes is not None and classes != Counter(dict(enumerate(expected.classes))):
            return f"groups.{split}", "the images a class differ from the manifest's"
        rows = enumerate(expected.groups or ())
        if expected.groups is not None and groups != Counter({(y, a): n for y, row in rows for a, n in enumerate(row)}):
            return f"groups.{split}", "the images a group differ from the manifest's"
    return None


def _is_own(registered: Registered) -> bool:
    return registered.plugin.distribution == BUILT_IN
