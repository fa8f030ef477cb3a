"""From a spec on the command line to the launcher it names."""

from __future__ import annotations

from collections.abc import Mapping

from ncbench.contracts.errors import ConfigurationError, PluginError
from ncbench.contracts.launcher import Launcher
from ncbench.contracts.specs import Scalar, Spec
from ncbench.discovery.registry import registry


def make_launcher(text: str, options: Mapping[str, Scalar]) -> Launcher:
    """Return the launcher that a spec names.

    Args:
        text: Spec, for example ``"local:workers=2"``.
        options: Parameters that have an option of the command line, by their names.

    Raises:
        ConfigurationError: A name, key or value is not valid, or a parameter is given both ways.
        PluginError: A plugin cannot be imported or breaks its contract.
    """
    spec = Spec.parse(text)
    if twice := sorted(options.keys() & spec.parameters.keys()):
        raise ConfigurationError(f"{twice[0]!r} is given twice: in --launcher {text} and as --{twice[0]}.")
    kind = registry().find("launchers", spec.name).card.load()
    if not (isinstance(kind, type) and issubclass(kind, Launcher)):
        raise PluginError(f"The factory of the launcher {spec.name!r} is not a subclass of ncbench.Launcher.")
    return kind(kind.Parameters.build({**spec.parameters, **options}, owner=spec.name))
