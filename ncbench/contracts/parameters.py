"""Typed, validated and documented parameters of datasets, methods, backbones and recipes."""

from __future__ import annotations

import typing
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Self

import pydantic

from ncbench.contracts.errors import ConfigurationError, unknown_name
from ncbench.contracts.specs import Scalar, Spec


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
