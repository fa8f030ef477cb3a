"""The code a dataset is made of, so that what older code wrote is not taken for what the present one would write."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import inspect
from collections.abc import Iterator
from pathlib import Path

from ncbench.contracts.dataset import Dataset


def code_digest(kind: type[Dataset]) -> str:
    """Digest the modules that define a dataset's class and its bases, and what they import from their own package.

    The core is left out, since it numbers its formats, and so are other packages. So is the outermost ``__init__`` that
    defines none of the classes: it holds cards, and those of other datasets.
    """
    bases = [base for base in kind.__mro__ if issubclass(base, Dataset) and base is not Dataset]
    waiting = {base.__module__: inspect.getsourcefile(base) for base in bases}
    sources: dict[str, bytes] = {}
    while waiting:
        module, file = waiting.popitem()
        if file is None or not Path(file).is_file():
            continue
        sources[module] = Path(file).read_bytes()
        parent = module if Path(file).name == "__init__.py" else module.rpartition(".")[0]
        imported = _imported(module.partition(".")[0], parent, sources[module])
        waiting |= {name: _file_of(name) for name in imported if name not in sources}
    digest = hashlib.sha256()
    for module in sorted(sources):
        digest.update(hashlib.sha256(sources[module]).digest())
    return digest.hexdigest()


def _imported(package: str, parent: str, source: bytes) -> Iterator[str]:
    """Yield what a module imports from its own package, wherever in it; some names are no modules but parts of one.

    Args:
        package: The outermost package.
        parent: The package that relative imports start from.
        source: The module's.
    """
    for node in ast.walk(ast.parse(source)):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and (parent or not node.level):
            origin = importlib.util.resolve_name("." * node.level + (node.module or ""), parent)
            names = [origin, *(f"{origin}.{alias.name}" for alias in node.names)]
        yield from (name for name in names if name.startswith(f"{package}."))


def _file_of(module: str) -> str | None:
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):  # a class or a function of a module
        return None
    return spec.origin if spec else None
