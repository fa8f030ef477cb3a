"""The packages of extras, imported when a tracker is made."""

from __future__ import annotations

import importlib
from typing import Any

from ncbench import NcbenchError


def library(module: str, extra: str) -> Any:
    """Import a module of the package that an extra brings.

    Raises:
        NcbenchError: It cannot be imported.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise NcbenchError(f"{module} cannot be imported ({error}): pip install 'ncbench[{extra}]'") from error
