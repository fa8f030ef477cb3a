"""Typed, validated and documented parameters of datasets, methods, backbones and recipes, and where to search them."""

from __future__ import annotations

import functools
import hashlib
import math
import os
import random
import typing
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Self

import pydantic

from ncbench.contracts.errors import ConfigurationError, DataError, unknown_name
from ncbench.contracts.specs import Scalar, Spec


def _content(path: str) -> str:
    """Return what stands for a path where it would mean nothing to anybody else: a digest of what lies there.

    Of a folder it is made of the names and sizes of all files, which says enough of what is meant.

    Raises:
        DataError: Nothing lies there, or it cannot be read.
    """
    if not path or path.startswith(_DIGEST):
        return path
    digest, place = hashlib.sha256(), Path(path).expanduser()
    try:
        if place.is_dir():
            for folder, folders, files in os.walk(place):
                folders.sort()
                for name in sorted(files):
                    file = Path(folder, name)
                    digest.update(os.fsencode(f"{file.relative_to(place)} {file.lstat().st_size}\n"))
        else:
            with place.open("rb") as file_content:
                digest = hashlib.file_digest(file_content, "sha256")
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror or error}). Check the path.") from error
    return _DIGEST + digest.hexdigest()[:16]


_DIGEST = "sha256-"
_IS_PATH = "a path on the user's machine"
LocalPath = Annotated[str, _IS_PATH]
"""A path on the user's machine. Specs and records hold a digest of what lies there in its place."""


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
        """Return every value, defaults included, as plain scalars; of a path on this machine, its digest.

        Raises:
            DataError: A path cannot be read.
        """
        return {**self.model_dump(mode="json"), **self._digests}

    @functools.cached_property
    def _digests(self) -> dict[str, str]:
        """What stands for each path on this machine: read once, so that the id and the record of a run agree on it."""
        fields = type(self).model_fields.items()
        return {key: _content(getattr(self, key)) for key, field in fields if _IS_PATH in field.metadata}

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


def _ascending(bounds: tuple[float, float]) -> tuple[float, float]:
    if not bounds[0] < bounds[1]:
        raise ValueError(f"the lower bound comes first, and {bounds[0]:g} is not below {bounds[1]:g}")
    return bounds


class _Bounds(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @property
    def bounds(self) -> tuple[float, float]:
        """The least and the largest number."""
        ((_, bounds),) = self
        return bounds  # type: ignore[no-any-return]

    def _rounded(self, drawn: float) -> float:
        """Return a drawn number with three significant digits: nobody tunes more, and specs stay readable."""
        low, high = self.bounds
        return min(max(float(f"{drawn:.3g}"), low), high)


class Uniform(_Bounds):
    """Numbers drawn evenly between two bounds: ``Uniform(0.5, 5)``, or in YAML ``{uniform: [0.5, 5]}``."""

    uniform: Annotated[tuple[float, float], pydantic.AfterValidator(_ascending)]

    def __init__(self, *bounds: float, **fields: Any) -> None:
        super().__init__(**({"uniform": bounds} if bounds else fields))

    def draw(self, generator: random.Random) -> float:
        """Return a number with three significant digits, or a bound."""
        return self._rounded(generator.uniform(*self.bounds))


class LogUniform(_Bounds):
    """Positive numbers whose logarithm is drawn evenly: ``LogUniform(1e-4, 1)``, or ``{log_uniform: [0.0001, 1]}``."""

    log_uniform: Annotated[tuple[pydantic.PositiveFloat, float], pydantic.AfterValidator(_ascending)]

    def __init__(self, *bounds: float, **fields: Any) -> None:
        super().__init__(**({"log_uniform": bounds} if bounds else fields))

    def draw(self, generator: random.Random) -> float:
        """Return a number with three significant digits, or a bound."""
        return self._rounded(math.exp(generator.uniform(*map(math.log, self.bounds))))


def _kind(values: object) -> str:
    given = values.model_fields_set if isinstance(values, _Bounds) else values if isinstance(values, Mapping) else ()
    return next((name for name in ("uniform", "log_uniform") if name in given), "choices")


Values = Annotated[
    Annotated[tuple[Scalar, ...], pydantic.Field(min_length=1), pydantic.Tag("choices")]
    | Annotated[Uniform, pydantic.Tag("uniform")]
    | Annotated[LogUniform, pydantic.Tag("log_uniform")],
    pydantic.Discriminator(_kind),
]
"""What a setting may be in a search: one of some choices, or a number between bounds."""


def draw(values: Values, generator: random.Random) -> Scalar:
    """Draw one of the values that a setting may be; whole numbers, names and switches are choices."""
    return values.draw(generator) if isinstance(values, Uniform | LogUniform) else generator.choice(values)


def draws(space: Mapping[str, Values], trials: int, seed: int) -> list[dict[str, Scalar]]:
    """Return the settings of each trial of a random search.

    Every setting is drawn for itself, by its name and the seed: methods that share one try the same values of it, and a
    longer search begins with the trials of a shorter one.
    """
    generators = {key: random.Random(f"{seed}:{key}") for key in sorted(space)}  # noqa: S311 (no secret)
    return [{key: draw(space[key], generator) for key, generator in generators.items()} for _ in range(trials)]


def _type_name(annotation: Any) -> str:
    if typing.get_origin(annotation) is typing.Literal:
        return " | ".join(map(str, typing.get_args(annotation)))
    return getattr(annotation, "__name__", str(annotation))
