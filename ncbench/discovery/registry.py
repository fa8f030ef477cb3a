"""ncbench's own loop over the entry points of the group ``ncbench``.

pluggy's loader stops at the first plugin that fails. This one reports a plugin that cannot be imported, or that
implements a hook wrongly, with its distribution and version, and goes on without it. Two environment variables are
honoured: ``NCBENCH_PLUGINS``, a comma-separated allow-list of distributions (the built-in plugins are always allowed),
and ``NCBENCH_STRICT=1``, which makes any broken plugin fatal.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from typing import Any

import pluggy

from ncbench.contracts import hookspecs
from ncbench.contracts.cards import BackboneCard, Card, DatasetCard, LauncherCard, Measure, MethodCard, MetricCard
from ncbench.contracts.errors import PluginError, described, unknown_name

GROUP = "ncbench"
KINDS: Mapping[str, type[Card]] = {
    "datasets": DatasetCard,
    "methods": MethodCard,
    "metrics": MetricCard,
    "backbones": BackboneCard,
    "launchers": LauncherCard,
}


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
            raise unknown_name(kind.removesuffix("s"), name, self.cards[kind])
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

    def conflicts(self) -> list[str]:
        """Return one line for each name that two plugins claim."""
        return [
            _conflict(kind, name, found)
            for kind, by_name in self.cards.items()
            for name, found in by_name.items()
            if len(found) > 1
        ]

    def notify(self, hook: str, warn: Callable[[str], None], **arguments: Any) -> None:
        """Call an observer hook on every plugin; one that fails is reported through `warn` and the rest go on.

        Raises:
            PluginError: An observer failed and ``NCBENCH_STRICT=1``.
        """
        for implementation in getattr(self.manager.hook, hook).get_hookimpls():
            try:
                implementation.function(**{name: arguments[name] for name in implementation.argnames})
            except (Exception, SystemExit) as error:  # an observer may fail in any way; the run must not
                message = f"{hook} of plugin {implementation.plugin_name} failed: {error!r}"
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
    for entry_point in _allowed(metadata.entry_points(group=GROUP)):
        plugin = Plugin(
            entry_point.name,
            entry_point.dist.name if entry_point.dist else "unknown",
            entry_point.dist.version if entry_point.dist else "unknown",
        )
        try:
            with contextlib.redirect_stdout(sys.stderr):  # where `--json` prints nobody else may
                cards = _load(entry_point, plugin, manager)
        except (Exception, SystemExit) as error:  # a plugin may fail in any way while it is imported
            manager.unregister(name=str(plugin))
            found.broken.append(Broken(plugin, described(error)))
            continue
        found.plugins.append(plugin)
        for kind, card in cards:
            found.cards[kind].setdefault(card.name, []).append(Registered(card, plugin))
    if _strict() and (problems := [*map(str, found.broken), *found.conflicts()]):
        raise PluginError(f"{problems[0]} (NCBENCH_STRICT=1)")
    return found


def _allowed(entry_points: Iterable[metadata.EntryPoint]) -> list[metadata.EntryPoint]:
    """Sort by distribution, so that the order of discovery is the same on every machine, and apply the allow-list."""
    ordered = sorted(entry_points, key=lambda point: (point.dist.name if point.dist else "", point.name))
    listed = os.environ.get("NCBENCH_PLUGINS")
    if listed is None:
        return ordered
    allowed = {_normalised(name) for name in listed.split(",")} | {"ncbench"}
    return [point for point in ordered if point.dist and _normalised(point.dist.name) in allowed]


def _normalised(distribution: str) -> str:
    return re.sub(r"[-_.]+", "-", distribution.strip()).lower()


def _strict() -> bool:
    return os.environ.get("NCBENCH_STRICT", "") not in {"", "0"}


def _load(entry_point: metadata.EntryPoint, plugin: Plugin, manager: pluggy.PluginManager) -> list[tuple[str, Card]]:
    """Import and register one plugin and collect its cards, checking that each is of its hook's type."""
    manager.register(entry_point.load(), name=str(plugin))
    manager.check_pending()
    if not manager.get_hookcallers(manager.get_plugin(str(plugin))):
        raise PluginError("it implements no hook; is a function without @hookimpl?")
    cards: list[tuple[str, Card]] = []
    for kind, card_type in KINDS.items():
        hook = getattr(manager.hook, f"ncbench_{kind}")
        for implementation in hook.get_hookimpls():
            if implementation.plugin_name != str(plugin):
                continue
            for card in implementation.function():
                if not isinstance(card, card_type):
                    raise PluginError(f"ncbench_{kind}() returned {card!r}, which is not a {card_type.__name__}.")
                cards.append((kind, card))
    return cards


def _conflict(kind: str, name: str, found: list[Registered]) -> str:
    claimants = " and ".join(str(registered.plugin) for registered in found)
    return (
        f"The {kind.removesuffix('s')} name {name!r} is claimed by {claimants}; uninstall one or set NCBENCH_PLUGINS."
    )
