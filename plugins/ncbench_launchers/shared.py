"""What a node must have in common with the sweep whose runs it makes: the output folder, and the versions."""

from __future__ import annotations

import platform
import secrets
import time
from collections.abc import Mapping
from importlib.metadata import entry_points, version
from pathlib import Path

PROBE_FILE = "probe"
CACHE_SECONDS = 60
"""How long a network's folder may show a node what was there before."""
_POLL_SECONDS = 0.5


def write_probe(folder: Path) -> str:
    """Leave a random word in a folder, and return it: only who sees this very folder can read it."""
    word = secrets.token_hex(16)
    (folder / PROBE_FILE).write_text(word, encoding="utf-8")
    return word


def versions() -> dict[str, str]:
    """Return the installed versions of torch, ncbench and its plugins, by distribution: results depend on them."""
    plugins = (entry.dist for entry in entry_points(group="ncbench"))
    found = {"torch": version("torch")} | {dist.name: dist.version for dist in plugins if dist is not None}
    return dict(sorted(found.items()))


def unseen(folder: Path, word: str, output: Path) -> str:
    """Return in one line that this node does not see the sweep's folder, if that is so.

    Args:
        folder: Where :func:`write_probe` was called.
        word: What it returned.
        output: The sweep's output folder.
    """
    deadline = time.monotonic() + CACHE_SECONDS
    while True:
        try:
            found = (folder / PROBE_FILE).read_text(encoding="utf-8")
        except OSError:
            found = ""
        if found == word:
            return ""
        if time.monotonic() > deadline:
            return f"{platform.node()} does not see {output}; name an --output that all nodes share."
        time.sleep(_POLL_SECONDS)


def other_versions(expected: Mapping[str, str]) -> str:
    """Return in one line in what this node's versions differ from the sweep's, if they do."""
    here = versions()
    differing = [
        f"{name} {here.get(name, 'is missing')} ({expected.get(name, 'none')} where the sweep is)"
        for name in sorted(here.keys() | expected.keys())
        if here.get(name) != expected.get(name)
    ]
    if not differing:
        return ""
    return f"{platform.node()} has {', '.join(differing)}; install the same versions on all nodes."
