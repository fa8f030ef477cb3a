"""Plugins of a first evening: hook implementations from a file or an object, for as long as a block runs."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import os
import re
import secrets
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType

from ncbench.contracts.errors import ConfigurationError, PluginError
from ncbench.discovery import last_words
from ncbench.discovery.isolation import contained
from ncbench.discovery.registry import Plugin, Registry, registry, singular

_AGAIN = "mend it and give the same command again; --debug shows the traceback"


@dataclass(frozen=True)
class PluginFile(Plugin):
    """A file with hook implementations, or an object that has them.

    Args:
        path: Absolute; None of an object.

    Its distribution is the file's name, and its version the SHA-256 of the file. Nothing tells which code an object
    runs, so that its version is drawn at random: what it began is gone on with by itself alone.
    """

    path: Path | None

    def __str__(self) -> str:
        return self.distribution


@contextlib.contextmanager
def plugins_from(given: Iterable[object]) -> Iterator[None]:
    """Use what files or objects bring, beside the installed plugins, inside the block.

    Args:
        given: Paths of Python files; modules or other objects with hook implementations.

    Raises:
        ConfigurationError: There is no such file, or two of one name.
        PluginError: It cannot be imported, implements no hook or one wrongly, or brings a name that is there already.
    """
    found = registry()
    with contextlib.ExitStack() as stack:
        for each in given:
            path = _path_of(each)
            plugin, content = _described(each, path)
            if plugin in found.plugins:  # given twice
                continue
            if any(plugin.distribution == other.distribution for other in found.plugins):
                raise ConfigurationError(f"Two plugins are called {plugin}: give one of them another name.")
            last_words.note(who=f"Plugin {plugin}")
            try:
                with contained(longest=0):
                    hooks = each if path is None else _imported(path, content)
                    if hasattr(hooks, "ncbench_commands"):
                        raise PluginError("it adds commands, which only an installed package can (ncbench plugins new)")
                    found.add(plugin, hooks)
                    stack.callback(found.remove, plugin)
                    _refuse_taken_names(found, plugin)
            except PluginError as error:
                raise PluginError(f"{path or plugin} cannot be used as a plugin: {error}; {_AGAIN}.") from error
            finally:
                last_words.note()
        yield


def _refuse_taken_names(found: Registry, plugin: PluginFile) -> None:
    for kind, by_name in found.cards.items():
        for name, (first, *others) in by_name.items():
            if any(other.plugin == plugin for other in others):
                raise PluginError(
                    f"it calls a {singular(kind)} {name!r}, as {first.plugin} does; give it a name of its own"
                )


def plugin_files() -> dict[str, str]:
    """Return the files and objects in use: name -> SHA-256, as a record says it."""
    return {plugin.distribution: plugin.version for plugin in registry().plugins if isinstance(plugin, PluginFile)}


def file_arguments() -> list[str]:
    """Return the arguments that have another ``ncbench run`` use the same files."""
    paths = [plugin.path for plugin in registry().plugins if isinstance(plugin, PluginFile)]
    return [part for path in paths if path is not None for part in ("--plugin", str(path))]


def changed_files(used: Iterable[Plugin], recorded: Mapping[str, str]) -> list[str]:
    """Return the names of the files that are not what they were.

    Args:
        used: The plugins that a run uses.
        recorded: What :func:`plugin_files` gave when it was made.
    """
    files = {plugin.distribution: plugin.version for plugin in used if isinstance(plugin, PluginFile)}
    return sorted(name for name, version in files.items() if recorded.get(name) != version)


def _path_of(given: object) -> Path | None:
    """Return the absolute path of a file; None of an object, as which a module counts: it may be older than its file.

    Raises:
        ConfigurationError: There is no such Python file.
    """
    if not isinstance(given, str | Path):
        return None
    path = Path(os.path.expanduser(given)).absolute()  # noqa: PTH111 (which leaves a home alone that nobody has)
    if not path.exists():
        raise ConfigurationError(f"There is no plugin file {given}. Name a Python file, as in --plugin idea.py.")
    if path.is_dir() or path.suffix != ".py":
        raise ConfigurationError(
            f"{given} is no Python file. Name the .py file that has the hooks; a package is installed: pip install -e ."
        )
    return path


def _described(given: object, path: Path | None) -> tuple[PluginFile, bytes]:
    """Return what a plugin is called and known by, and the content of its file."""
    if path is None:
        name = f"object {getattr(given, '__name__', type(given).__name__)}"
        _, version = _objects.setdefault(id(given), (given, secrets.token_hex(32)))
        return PluginFile("", name, version, None), b""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"The plugin file {path} cannot be read ({error.strerror or error}).") from error
    return PluginFile("", path.name, hashlib.sha256(content).hexdigest(), path), content


_objects: dict[int, tuple[object, str]] = {}  # with their versions; kept, so that no other takes the number of one


class _Loader(SourceFileLoader):
    """Imports a file from the bytes that its hash is of, and leaves no compiled file beside it."""

    def __init__(self, name: str, path: Path, content: bytes) -> None:
        super().__init__(name, str(path))
        self._content = content

    def get_code(self, fullname: str) -> CodeType:
        return self.source_to_code(self._content, self.path)


def _imported(path: Path, content: bytes) -> ModuleType:
    """Import a file under its own name, by which the factories of its cards are found."""
    name = re.sub(r"\W", "_", path.stem)
    if _is_taken(name, path):
        raise PluginError(f"there is a module {name} already; give the file another name")
    loader = _Loader(name, path, content)
    spec = importlib.util.spec_from_file_location(name, path, loader=loader)
    assert spec is not None  # it is None where nothing could load the file
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _is_taken(name: str, path: Path) -> bool:
    there = sys.modules.get(name)
    spec = importlib.util.find_spec(name) if there is None else there.__spec__
    return bool(there or spec) and not (spec and (spec.origin == str(path) or isinstance(spec.loader, _Loader)))
