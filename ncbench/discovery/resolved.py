"""What a spec names: its card, its class and its parameters, with every default filled in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ncbench.contracts.dataset import DatasetParameters
from ncbench.contracts.parameters import Parameters
from ncbench.contracts.specs import Spec
from ncbench.discovery.registry import Registered, registry


@dataclass(frozen=True)
class Resolved:
    """A spec with its card, its class and its validated parameters.

    Args:
        registered: The card.
        factory: The class.
        params: The parameters.
        published: Values that were taken for what was not given.
    """

    registered: Registered
    factory: Any
    params: Any
    published: Mapping[str, Any]

    @property
    def name(self) -> str:
        """The card's name."""
        return str(self.registered.card.name)

    @property
    def spec(self) -> str:
        """The canonical spec: sorted keys, defaults left out."""
        return str(self.params.spec(self.name, self.published))

    def describe(self) -> dict[str, Any]:
        """Return the entry that the record keeps."""
        plugin = self.registered.plugin
        return {
            "name": self.name,
            "spec": self.spec,
            "parameters": self.params.as_dict(),
            "plugin": {"distribution": plugin.distribution, "version": plugin.version},
        }


def resolve_spec(kind: str, spec: Spec, defaults: Mapping[str, Any]) -> Resolved:
    """Look a spec up, and validate its parameters.

    Args:
        kind: ``"methods"``, ``"datasets"``, ...
        spec: It.
        defaults: Published values, for what it does not give.

    Raises:
        ConfigurationError: The name, a key or a value is not valid.
        PluginError: The plugin cannot be imported.
    """
    registered = registry().find(kind, spec.name)
    factory = registered.load()
    values = {**defaults, **spec.parameters}
    params: Parameters | DatasetParameters
    if kind == "datasets":
        params = DatasetParameters.build(factory, values, owner=spec.name)
    else:
        params = factory.Parameters.build(values, owner=spec.name)
    return Resolved(registered, factory, params, defaults)
