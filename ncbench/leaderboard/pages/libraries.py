"""The libraries that the pages use, copied from the packages of the extra ``site``: DataTables and Plotly.js.

itables carries DataTables with its extensions, plotly carries Plotly.js. Neither package is imported.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from ncbench.contracts.errors import NcbenchError

FOLDER = "libraries"
"""Where the pages have them."""

INSTALL = "pip install 'ncbench[site]'"

_TABLES, _STYLE, _CHARTS = "datatables.js", "datatables.css", "plotly.js"
NAMES = (_TABLES, _STYLE, _CHARTS)
"""Of the files."""

_FILES = {
    _TABLES: ("itables", "html/dt_bundle.js"),
    _STYLE: ("itables", "html/dt_bundle.css"),
    _CHARTS: ("plotly", "package_data/plotly.min.js"),
}
_MAP_STYLES = re.compile(r'getElementById\("([0-9a-f]{64})"\)')
_ELEMENT = "document.head.append(Object.assign(document.createElement('meta'), {{ id: '{0}' }}));\n"
"""Plotly adds a style sheet for maps unless an element has its id; the pages have no maps, and forbid such sheets."""

_EXPORTS = re.compile(r"export\s*\{([^{}]*)\}\s*;?\s*(/\*(?:(?!\*/).)*\*/\s*)?\Z", re.DOTALL)  # and licences below
_DEFAULT = re.compile(r"([\w$]+)\s+as\s+default\b")


def missing() -> list[str]:
    """Return the packages of the extra that are not installed."""
    return [package for package in dict.fromkeys(package for package, _ in _FILES.values()) if not _folder(package)]


def read() -> Mapping[str, bytes]:
    """Return the libraries: name of a file in :data:`FOLDER` -> content.

    Raises:
        NcbenchError: A package is not installed, or does not have what the pages use of it.
    """
    found = {}
    for name, (package, inside) in _FILES.items():
        folder = _folder(package)
        try:
            found[name] = b"" if folder is None else (folder / inside).read_bytes()
        except OSError:
            found[name] = b""
        if not found[name]:
            raise NcbenchError(f"The pages take {inside} of the package {package}, which is not here: {INSTALL}")
    charts = "".join(map(_ELEMENT.format, _MAP_STYLES.findall(found[_CHARTS].decode()))).encode() + found[_CHARTS]
    return found | {_TABLES: as_script(found[_TABLES].decode()).encode(), _CHARTS: charts}


def as_script(module: str) -> str:
    """Return an ES module as a script that sets ``DataTable`` to its default export.

    Browsers read no modules from files, since a file has no origin.

    Raises:
        NcbenchError: The module does not end with its exports, or has no default among them.
    """
    exports = _EXPORTS.search(module)
    default = _DEFAULT.search(exports[1]) if exports else None
    if exports is None or default is None:
        raise NcbenchError(f"The tables of the package itables are not as the pages know them: {INSTALL} --upgrade")
    body, licences = module[: exports.start()], exports[2] or ""
    return f"(() => {{\n'use strict';\n{body}\nglobalThis.DataTable = {default[1]};\n}})();\n{licences}"


def _folder(package: str) -> Path | None:
    """Return where a package is installed, without importing it; None if it is not."""
    spec = find_spec(package)
    places = spec.submodule_search_locations if spec else None
    return Path(places[0]) if places else None
