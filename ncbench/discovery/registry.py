"""ncbench's own loop over the entry points of the group ``ncbench``.

pluggy's loader stops at the first plugin that fails. This one reports a plugin that cannot be imported, or that
implements a hook wrongly, with its distribution and version, and goes on without it; what is left of a distribution
that was half removed is reported too. Two environment variables are honoured: ``NCBENCH_PLUGINS``, a comma-separated
allow-list of distributions (the built-in plugins are always allowed), and ``NCBENCH_STRICT=1``, which makes any broken
plugin fatal.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import pluggy

from ncbench.contracts import hookspecs
from ncbench.contracts.cards import (
    BackboneCard,
    Card,
    DatasetCard,
    GroupsCard,
    LauncherCard,
    Measure,
    MethodCard,
    MetricCard,
    TrackerCard,
    stdout_to_stderr,
)
from ncbench.contracts.errors import PluginError, described, unknown_name
from ncbench.discovery import last_words
from ncbench.discovery.isolation import contained

GROUP = "ncbench"
KINDS: Mapping[str, type[Card]] = {
    "datasets": DatasetCard,
    "methods": MethodCard,
    "groups": GroupsCard,
    "metrics": MetricCard,
    "backbones": BackboneCard,
    "launchers": LauncherCard,
    "trackers": TrackerCard,
}
MOST_CARDS = 1000  # that one hook returns; a generator may have no end


def singular(kind: str) -> str:
    """Return what one of a kind is called: ``"method"`` of ``"methods"``, and ``"groups"`` of ``"groups"``."""
    return kind if kind == "groups" else kind.removesuffix("s")


def plural(kind: str) -> str:
    """Return the kind of which one is called so: the other way round."""
    return kind if kind == "groups" else f"{kind}s"


@dataclass(frozen=True)
class Plugin:
    """An entry point and the distribution it comes from."""

    entry_point: str
    distribution: str
    version: str

    def __str__(self) -> str:
        return f"{self.entry_point} of {self.distribution} {self.version}"


@dataclass(frozen=True)
class Registered:
    """A card and the plugin that brought it."""

    card: Any
    plugin: Plugin

    def load(self) -> Any:
        """Import and return what the card's factory names.

        Raises:
            PluginError: The module or the class cannot be imported; the message names the plugin.
        """
        try:
            return self.card.load()
        except PluginError as error:
            raise PluginError(f"{error} It comes with {self.plugin}.") from error


@dataclass(frozen=True)
class Broken:
    """A plugin that was skipped, and why."""

    plugin: Plugin
    reason: str

    def __str__(self) -> str:
        return f"Plugin {self.plugin} was skipped: {self.reason}"


@dataclass
class Registry:
    """Every card that was found.

    Args:
        manager: The pluggy manager, for calling hooks.
        plugins: The plugins in use.
        broken: The plugins that were skipped.
        cards: Kind (``"datasets"``, ...) -> name -> every card of that name, one unless plugins conflict.
    """

    manager: pluggy.PluginManager
    plugins: list[Plugin] = field(default_factory=list)
    broken: list[Broken] = field(default_factory=list)
    cards: dict[str, dict[str, list[Registered]]] = field(default_factory=lambda: {kind: {} for kind in KINDS})

    def names(self, kind: str) -> list[str]:
        """Return the names of one kind, sorted."""
        return sorted(self.cards[kind])

    def find(self, kind: str, name: str) -> Registered:
        """Return the card of this kind and name.

        Raises:
            ConfigurationError: There is no such name.
            PluginError: Two plugins claim it.
        """
        found = self.cards[kind].get(name)
        if not found:
            raise unknown_name(singular(kind), name, self.cards[kind], f"ncbench list {kind}")
        if len(found) > 1:
            raise PluginError(_conflict(kind, name, found))
        return found[0]

    def metric_families(self) -> list[Registered]:
        """Return the metric families in the order in which they are shown: the built-in ones, then the others."""
        families = [registered for found in self.cards["metrics"].values() for registered in found]
        return sorted(families, key=lambda family: family.plugin.distribution != "ncbench")

    def measures(self) -> dict[str, Measure]:
        """Return what each number of the metric families is, by name, in the order in which they are shown."""
        return {name: measure for family in self.metric_families() for name, measure in family.card.metrics.items()}

    def shown_measures(self) -> dict[str, Measure]:
        """Return those of them that tables show."""
        return {name: measure for name, measure in self.measures().items() if measure.shown_in != "record"}

    def conflicts(self) -> list[str]:
        """Return one line for each name that two plugins claim."""
        return [
            _conflict(kind, name, found)
            for kind, by_name in self.cards.items()
            for name, found in by_name.items()
            if len(found) > 1
        ]

    def add(self, plugin: Plugin, hooks: object) -> None:
        """Register what implements hooks, and take in its cards.

        Raises:
            PluginError: It implements none, or one wrongly.
        """
        try:
            cards = _load(hooks, plugin, self.manager)
        except BaseException:
            self.manager.unregister(name=str(plugin))
            raise
        self.plugins.append(plugin)
        for kind, card in cards:
            self.cards[kind].setdefault(card.name, []).append(Registered(card, plugin))

    def remove(self, plugin: Plugin) -> None:
        """Forget a plugin and its cards."""
        self.manager.unregister(name=str(plugin))
        self.plugins.remove(plugin)
        for by_name in self.cards.values():
            for name, found in list(by_name.items()):
                found[:] = [registered for registered in found if registered.plugin != plugin]
                if not found:
                    del by_name[name]

    def notify(self, hook: str, warn: Callable[[str], None], **arguments: Any) -> None:
        """Call an observer hook on every plugin; one that fails is reported through `warn` and the rest go on.

        Raises:
            PluginError: An observer failed and ``NCBENCH_STRICT=1``.
        """
        for implementation in getattr(self.manager.hook, hook).get_hookimpls():
            try:
                with stdout_to_stderr():
                    implementation.function(**{name: arguments[name] for name in implementation.argnames})
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # an observer may fail in any way; the run must not
                message = f"{hook} of plugin {implementation.plugin_name} failed: {described(error)}"
                if _strict():
                    raise PluginError(message) from error
                warn(message)


@functools.cache
def registry() -> Registry:
    """Discover the plugins once and return what they bring.

    Raises:
        PluginError: ``NCBENCH_STRICT=1`` and a plugin is broken or two claim one name.
    """
    manager = pluggy.PluginManager(GROUP)
    manager.add_hookspecs(hookspecs)
    found = Registry(manager)
    entry_points, found.broken[:] = _installed()
    for entry_point, plugin in entry_points:
        last_words.note(who=f"Plugin {plugin}")
        try:
            with contained():
                found.add(plugin, entry_point.load())
        except PluginError as error:
            found.broken.append(Broken(plugin, str(error)))
    last_words.note()
    if _strict() and (problems := [*map(str, found.broken), *found.conflicts()]):
        raise PluginError(f"{problems[0]} (NCBENCH_STRICT=1)")
    return found


def _installed() -> tuple[list[tuple[metadata.EntryPoint, Plugin]], list[Broken]]:
    """Return the entry points that the allow-list admits and the plugins they are, and what cannot be one.

    Sorted by distribution, so that the order of discovery is the same on every machine.
    """
    found: dict[tuple[str, str], tuple[metadata.EntryPoint, Plugin]] = {}
    broken = []
    for distribution in metadata.distributions():
        for entry_point, plugin, reason in _plugins_of(distribution):
            name = _normalised(plugin.distribution)
            if not _allowed(name):
                continue
            if reason:
                broken.append(Broken(plugin, reason))
            elif entry_point is not None:
                found.setdefault(
                    (name, entry_point.name), (entry_point, plugin)
                )  # the first on the path shadows others
    return [found[key] for key in sorted(found)], sorted(broken, key=str)


def _plugins_of(distribution: metadata.Distribution) -> Iterator[tuple[metadata.EntryPoint | None, Plugin, str]]:
    """Yield the entry points of one distribution, each with what is wrong with it; of an unreadable one, None."""
    try:
        listed = distribution.read_text("entry_points.txt") or ""
        if GROUP not in listed:
            return
        entry_points = [point for point in distribution.entry_points if point.group == GROUP]
    except Exception as error:
        called, version, mend = _told_by_folder(distribution)
        reason = f"its entry_points.txt cannot be read ({described(error)}); {mend}"
        yield None, Plugin("an entry point", called, version), reason
        return
    reason = ""
    try:
        name, version = distribution.name, distribution.version
    except Exception:  # newer versions of Python raise one
        name = version = ""
    if not (name and version):
        name, version, mend = _told_by_folder(distribution)
        reason = f"it has no METADATA with a name and a version; {mend}"
    for entry_point in entry_points:
        yield entry_point, Plugin(entry_point.name, name, version), reason


def _told_by_folder(distribution: metadata.Distribution) -> tuple[str, str, str]:
    """Return the name and the version that the folder of a half-removed distribution tells, and how to mend it."""
    folder = Path(str(getattr(distribution, "_path", distribution.locate_file(""))))
    name, _, version = folder.stem.partition("-")
    return name, version or "unknown", f"install it again, or delete {folder}"


def _allowed(distribution: str) -> bool:
    listed = os.environ.get("NCBENCH_PLUGINS")
    return listed is None or distribution in {"ncbench", *map(_normalised, listed.split(","))}


def _normalised(distribution: str) -> str:
    return re.sub(r"[-_.]+", "-", distribution.strip()).lower()


def _strict() -> bool:
    return os.environ.get("NCBENCH_STRICT", "") not in {"", "0"}


def _load(hooks: object, plugin: Plugin, manager: pluggy.PluginManager) -> list[tuple[str, Card]]:
    """Register what implements hooks and collect its cards, checking that each is of its hook's type."""
    manager.register(hooks, name=str(plugin))
    manager.check_pending()
    if not manager.get_hookcallers(manager.get_plugin(str(plugin))):
        raise PluginError("it implements no hook; is a function without @hookimpl?")
    cards: list[tuple[str, Card]] = []
    for kind, card_type in KINDS.items():
        hook = getattr(manager.hook, f"ncbench_{kind}")
        for implementation in hook.get_hookimpls():
            if implementation.plugin_name != str(plugin):
                continue
            cards += [(kind, card) for card in _cards(implementation.function(), f"ncbench_{kind}()", card_type)]
    return cards


def _cards(returned: object, hook: str, card_type: type[Card]) -> list[Card]:
    """Return the cards that a hook returned, each made anew, which checks also what was made around its constructor."""
    if not isinstance(returned, Iterable):
        raise PluginError(f"{hook} returned {type(returned).__name__}, not cards")
    cards: dict[str, Card] = {}
    for card in itertools.islice(returned, MOST_CARDS + 1):
        if len(cards) == MOST_CARDS:
            raise PluginError(f"{hook} returned more than {MOST_CARDS} cards")
        if type(card) is not card_type:  # a GroupsCard is a MethodCard, too, and brings no method
            raise PluginError(f"{hook} returned {type(card).__name__}, which is not a {card_type.__name__}")
        if card.name in cards:
            raise PluginError(f"{hook} returned two cards named {card.name!r}")
        cards[card.name] = dataclasses.replace(card)
    return list(cards.values())


def _conflict(kind: str, name: str, found: list[Registered]) -> str:
    claimants = " and ".join(str(registered.plugin) for registered in found)
    return f"The {singular(kind)} name {name!r} is claimed by {claimants}; uninstall one or set NCBENCH_PLUGINS."
