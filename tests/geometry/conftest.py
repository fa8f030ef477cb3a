"""Shared by the geometry tests."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Small tensors gain nothing from a second thread, and lose much to waiting for it on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


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
