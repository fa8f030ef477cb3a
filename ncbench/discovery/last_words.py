"""What a command asks of a plugin just now, kept where it outlives the process: the plugin may end it.

Where nobody waits for the process, as in a notebook, nothing is kept.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

_descriptor: int | None = None  # of a file that who waits for this process reads


def keep_in(descriptor: int) -> None:
    """Keep what is noted in an open file."""
    global _descriptor
    _descriptor = descriptor


def note(**words: Any) -> None:
    """Replace what is kept; with nothing, forget it.

    Args:
        words: JSON values: `who` is being asked; the `record` to write to `path` if it ends the process.
    """
    if _descriptor is not None:
        content = json.dumps(words).encode()
        os.ftruncate(_descriptor, 0)
        os.pwrite(_descriptor, content, 0)


def read(descriptor: int) -> Mapping[str, Any]:
    """Return what is kept in an open file; nothing where the process ended while it wrote."""
    try:
        words = json.loads(os.pread(descriptor, os.fstat(descriptor).st_size, 0))
    except ValueError:
        return {}
    return words if isinstance(words, dict) else {}
