"""Writing a new plugin: a small package that works, for its author to edit."""

from __future__ import annotations

import importlib.resources
import importlib.util
import keyword
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from string import Template

import ncbench
from ncbench.contracts.errors import ConfigurationError
from ncbench.discovery.registry import plural, registry

LONGEST_NAME = 64  # what the leaderboard's folders take
_NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")


@dataclass(frozen=True)
class Start:
    """What sets a new package of one kind apart, besides its templates.

    Args:
        libraries: What it imports besides ncbench, as requirements in TOML.
        usage: The command that uses the plugin.
        files: Path in the package -> template, of files that this kind alone has.
    """

    libraries: str
    usage: str
    files: Mapping[str, str] = field(default_factory=dict)


STARTS: Mapping[str, Start] = {
    "method": Start('"pydantic>=2.7", "torch>=2.6"', "ncbench run --method $name --dataset colored_digits"),
    "groups": Start(
        '"pydantic>=2.7", "torch>=2.6"',
        "ncbench run --method group_dro --groups $name --dataset colored_digits",
    ),
    "dataset": Start(
        '"numpy>=1.26"', "ncbench run --dataset $name --synthetic", {"src/$module/$name.yaml": "manifest.yaml"}
    ),
    "metric": Start('"torch>=2.6"', "ncbench run --method erm --dataset colored_digits --set recipe.epochs=3"),
    "backbone": Start(
        '"pydantic>=2.7", "torch>=2.6"', "ncbench run --method erm --dataset colored_digits --backbone $name"
    ),
}
"""The kinds of plugin that can be written."""

_FILES = {
    "pyproject.toml": "pyproject.toml",
    "README.md": "README.md",
    "src/$module/__init__.py": "${kind}_card.py",
    "src/$module/$kind.py": "$kind.py",
    "tests/test_$name.py": "test.py",
}


def new_package(name: str, kind: str, output: Path) -> Path:
    """Write the package of a new plugin, whole or not at all.

    Args:
        name: Of the plugin, as users are to type it.
        kind: One of `STARTS`.
        output: The folder to write it into; created if needed.

    Returns:
        The package's folder, ``<output>/ncbench-<name>``.

    Raises:
        ConfigurationError: The name is not valid or taken, the folder exists, or it cannot be written.
    """
    module = f"ncbench_{name}"
    class_name = "".join(word.capitalize() for word in name.split("_"))
    _check_name(name, kind, module, class_name)
    values = {
        "name": name,
        "kind": kind,
        "what": "way to infer groups" if kind == "groups" else kind,
        "module": module,
        "distribution": module.replace("_", "-"),
        "class_name": class_name,
        "version": ncbench.__version__,
        "libraries": STARTS[kind].libraries,
        "usage": Template(STARTS[kind].usage).substitute(name=name),
    }
    target = output / values["distribution"]
    if target.exists():
        raise ConfigurationError(f"{target} exists already and is left alone: choose another name or --output.")
    templates = importlib.resources.files("ncbench.discovery") / "templates"
    try:
        output.mkdir(parents=True, exist_ok=True)
        partial = output / f".{target.name}.partial"
        shutil.rmtree(partial, ignore_errors=True)  # what a killed command left
        try:
            for path, template in {**_FILES, **STARTS[kind].files}.items():
                content = (templates / f"{Template(template).substitute(values)}.template").read_text(encoding="utf-8")
                file = partial / Template(path).substitute(values)
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(Template(content).substitute(values), encoding="utf-8")
            partial.rename(target)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    except OSError as error:
        raise ConfigurationError(f"{target} cannot be written ({error.strerror or error}).") from error
    return target


def _check_name(name: str, kind: str, module: str, class_name: str) -> None:
    if not _NAME.fullmatch(name) or len(name) > LONGEST_NAME or keyword.iskeyword(class_name):
        raise ConfigurationError(
            f"{name!r} cannot be a plugin's name: it takes lower-case letters and digits in words joined by "
            f"underscores, beginning with a letter, {LONGEST_NAME} characters at most, and no word of Python's own."
        )
    if taken := registry().cards[plural(kind)].get(name):
        raise ConfigurationError(f"The {kind} {name!r} exists already, brought by {taken[0].plugin}; choose another.")
    if importlib.util.find_spec(module) is not None:
        raise ConfigurationError(f"A package {module!r} is installed already; choose another name than {name!r}.")
