"""Shared by the geometry tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch


@pytest.fixture(autouse=True)
def two_threads() -> None:
    """Keep to two cores, whatever the machine has."""
    torch.set_num_threads(min(2, torch.get_num_threads()))


@pytest.fixture
def hierarchies() -> Path:
    """The folder with the published hierarchies."""
    root = os.environ.get("NCBENCH_DATA")
    if not root:
        pytest.skip("needs the published hierarchies: set NCBENCH_DATA to the data root")
    folder = Path(root) / "hierarchies"
    if not folder.is_dir():
        pytest.skip(f"needs the published hierarchies: {folder} is not a folder")
    return folder
