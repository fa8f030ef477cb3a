"""Spec strings, the one way to name a dataset, a method or a backbone, and the one reader of YAML.

``NAME[:key=value[,key=value]...]``, values read as YAML scalars: ``colored_mnist:conflict=0.01``. Scalars are those of
YAML 1.2's core schema, on the command line and in files alike: 010 is ten, 1:30 and yes are text.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from ncbench.contracts.cards import NAME
from ncbench.contracts.errors import ConfigurationError

Scalar = bool | int | float | str | None

ATTRIBUTE = "attribute"
"""What `--groups` names where nothing is inferred: groups are those of the dataset's bias attribute."""

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
            meant = name.strip().lower().replace("-", "_")
            hint = f" Did you mean {meant}?" if NAME.fullmatch(meant) else ""
            raise ConfigurationError(
                f"{text!r} is not a spec: it must begin with a name of lower-case letters, digits and _, as in "
                f"colored_mnist:conflict=0.01.{hint}"
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
    """Read one YAML scalar.

    Raises:
        ConfigurationError: The text is not a scalar; `where` names the place in the message.
    """
    try:
        value = read_yaml(text)
    except ValueError as error:
        raise ConfigurationError(f"The value {text!r} in {where!r} is not a YAML scalar.") from error
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
        return re.sub("inf|nan", r".\g<0>", repr(value))
    if isinstance(value, str):
        plain = re.fullmatch(r"[\w./+-]+", value) and parse_scalar(value, where=value) == value
        return value if plain else "'" + value.replace("'", "''") + "'"
    return str(value)


def parse_settings(texts: list[str]) -> dict[str, Any]:
    """Read ``KEY=VALUE`` texts, values as YAML scalars.

    Raises:
        ConfigurationError: A text has another form, or sets a key that one before it has set.
    """
    settings: dict[str, Any] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals:
            raise ConfigurationError(f"{text!r} is not of the form KEY=VALUE, as in --set recipe.epochs=5.")
        if key.strip() in settings:
            raise ConfigurationError(f"{key.strip()!r} is set twice; give it once.")
        settings[key.strip()] = parse_scalar(value.strip(), where=text)
    return settings


def read_yaml(text: str) -> Any:
    """Read a YAML 1.2 document: plain values, lists and mappings, in which no key is given twice.

    Raises:
        ValueError: It is not YAML, or a key is given twice; the message, in one line, says where.
    """
    import yaml  # here, since listing commands never read a value

    try:
        return yaml.load(text, _loader())  # noqa: S506 (a safe loader with fewer scalars)
    except (yaml.YAMLError, RecursionError) as error:
        said = " ".join(str(error).replace('in "<unicode string>", ', "in ").split())
        raise ValueError(said or "it is nested too deeply") from error


_CORE_SCHEMA = (  # section 10.3.2 of YAML 1.2.2; what matches none of these is text
    ("null", r"null|Null|NULL|~|", "~nN"),
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789"),
    (
        "float",
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        "-+.0123456789",
    ),
    ("merge", r"<<", "<"),  # of YAML 1.1, and in wide use
)


@functools.cache
def _loader() -> Any:
    import yaml

    class Loader(yaml.SafeLoader):
        yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 (add_implicit_resolver wants its own)

        def construct_int(self, node: yaml.ScalarNode) -> int:
            return int(node.value, 0 if node.value[:2] in ("0o", "0x") else 10)

        def flatten_mapping(self, node: yaml.MappingNode) -> None:
            lines: dict[Any, int] = {}
            for key, _ in node.value:
                if key.tag != "tag:yaml.org,2002:merge":
                    name, line = (key.tag, str(key.value)), key.start_mark.line + 1
                    if name in lines:
                        raise yaml.YAMLError(
                            f"the key {key.value!r} is given twice, in line {lines[name]} and in line {line}"
                        )
                    lines[name] = line
            super().flatten_mapping(node)

    for tag, pattern, first in _CORE_SCHEMA:
        beginnings = [*first, ""] if tag == "null" else [*first]
        Loader.add_implicit_resolver(f"tag:yaml.org,2002:{tag}", re.compile(rf"(?:{pattern})\Z"), beginnings)
    Loader.add_constructor("tag:yaml.org,2002:int", Loader.construct_int)
    return Loader
