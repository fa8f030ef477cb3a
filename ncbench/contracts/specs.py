"""Spec strings, the one way to name a dataset, a method or a backbone, and the parameters that are given with it.

``NAME[:key=value[,key=value]...]``, values read as YAML scalars: ``colored_mnist:conflict=0.01``. A name's parameters
are typed, validated and documented by its :class:`Parameters`.
"""

from __future__ import annotations

import re
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Self

import pydantic

from ncbench.contracts.cards import NAME
from ncbench.contracts.errors import ConfigurationError, unknown_name

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


class Parameters(pydantic.BaseModel):
    """Base of every parameter model: frozen, no unknown keys, each field a scalar with a default and a description.

    >>> from pydantic import Field
    >>> class Focal(Parameters):
    ...     gamma: float = Field(2.0, ge=0, description="focusing strength (Lin et al. 2017, eq. 4)")
    >>> Focal.build({"gamma": 1}, owner="focal").gamma
    1.0
    """

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", strict=False, allow_inf_nan=False)

    @classmethod
    def build(cls, values: Mapping[str, Any], owner: str) -> Self:
        """Validate `values`.

        Args:
            values: Values by key.
            owner: Whose parameters these are, for the error.

        Raises:
            ConfigurationError: An unknown key (with the nearest match) or a value out of its range or type.
        """
        for key in values:
            if key not in cls.model_fields:
                raise unknown_name(f"parameter of {owner}", key, cls.model_fields)
        try:
            return cls(**values)
        except pydantic.ValidationError as error:
            first = error.errors()[0]
            key = str(first["loc"][0]) if first["loc"] else "parameters"
            description = ""
            if key in cls.model_fields and (text := cls.model_fields[key].description):
                description = f" ({key}: {text})"
            raise ConfigurationError(
                f"The value {first['input']!r} for {key!r} of {owner} is not valid: {first['msg']}.{description}"
            ) from error

    def as_dict(self) -> dict[str, Any]:
        """Return every value, defaults included, as plain scalars."""
        return self.model_dump(mode="json")

    def spec(self, name: str, published: Mapping[str, Any] = MappingProxyType({})) -> Spec:
        """Return the canonical spec: sorted keys, defaults left out.

        Args:
            name: Of the card.
            published: Values that take the defaults' place where nothing is given; a default that stands against one
                of them is not left out, so that the spec names the same parameters when it is given again.
        """
        given: dict[str, Scalar] = {
            key: value
            for key, value in self.as_dict().items()
            if value != type(self).model_fields[key].get_default() or value != published.get(key, value)
        }
        return Spec(name, given)

    @classmethod
    def describe(cls) -> list[tuple[str, str, str, str]]:
        """Return (key, type, default, description) of every field, for help texts and pages."""
        return [
            (key, _type_name(field.annotation), repr(field.get_default()), field.description or "")
            for key, field in cls.model_fields.items()
        ]


def _type_name(annotation: Any) -> str:
    if typing.get_origin(annotation) is typing.Literal:
        return " | ".join(map(str, typing.get_args(annotation)))
    return getattr(annotation, "__name__", str(annotation))
