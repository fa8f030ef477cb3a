"""Spec strings, the one way to name a dataset, a method or a backbone.

``NAME[:key=value[,key=value]...]``, values read as YAML scalars: ``colored_mnist:conflict=0.01``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from ncbench.contracts.cards import NAME
from ncbench.contracts.errors import ConfigurationError

Scalar = bool | int | float | str | None

OUTSIDE_QUOTES = re.compile(r",(?=(?:[^']*'[^']*')*[^']*$)")  # a comma inside '...' belongs to the value


@dataclass(frozen=True)
class Spec:
    """A name and the parameters given with it.

    Args:
        name: Lower-case name of a card.
        parameters: Values by key; only what was given, never the defaults.
    """

    name: str
    parameters: Mapping[str, Scalar] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "parameters", MappingProxyType(dict(sorted(self.parameters.items()))))

    def __hash__(self) -> int:
        return hash(str(self))

    @classmethod
    def parse(cls, text: str) -> Spec:
        """Read a spec string.

        Raises:
            ConfigurationError: The text is not of the form ``NAME[:key=value[,key=value]...]``, a key
                appears twice, or a value is not a YAML scalar.
        """
        name, colon, rest = text.strip().partition(":")
        if not NAME.fullmatch(name):
            raise ConfigurationError(
                f"{text!r} is not a spec: it must begin with a lower-case name, as in colored_mnist:conflict=0.01."
            )
        parameters: dict[str, Scalar] = {}
        if colon:
            for item in OUTSIDE_QUOTES.split(rest):
                key, equals, value = (part.strip() for part in item.partition("="))
                if not equals or not NAME.fullmatch(key):
                    raise ConfigurationError(f"{item!r} in {text!r} is not of the form key=value.")
                if key in parameters:
                    raise ConfigurationError(f"{key!r} is given twice in {text!r}.")
                parameters[key] = parse_scalar(value, where=text)
        return cls(name, parameters)

    def __str__(self) -> str:
        if not self.parameters:
            return self.name
        return self.name + ":" + ",".join(f"{key}={format_scalar(value)}" for key, value in self.parameters.items())


def parse_scalar(text: str, where: str) -> Scalar:
    """Read one YAML scalar. ``1e-3``, which YAML 1.1 takes for text, is a number here.

    Raises:
        ConfigurationError: The text is not a scalar; `where` names the place in the message.
    """
    import yaml  # here, since listing commands never parse a value

    try:
        value = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError) as error:  # ValueError: 2020-13-45 looks like a date and is none
        raise ConfigurationError(f"The value {text!r} in {where!r} is not a YAML scalar.") from error
    if isinstance(value, str) and text[:1] not in {'"', "'"}:
        try:
            return float(value)
        except ValueError:
            return value
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise ConfigurationError(f"The value {text!r} in {where!r} is not a YAML scalar.")


def format_scalar(value: Scalar) -> str:
    """Write a scalar so that :func:`parse_scalar` reads the same value back."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, str):
        plain = re.fullmatch(r"[\w./+-]+", value) and parse_scalar(value, where=value) == value
        return value if plain else "'" + value.replace("'", "''") + "'"
    return str(value)
