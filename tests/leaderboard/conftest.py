"""An empty leaderboard folder."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def board(tmp_path: Path) -> Path:
    folder = tmp_path / "leaderboard"
    (folder / "results").mkdir(parents=True)
    return folder
