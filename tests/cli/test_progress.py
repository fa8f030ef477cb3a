"""What a terminal shows while runs are made fits it."""

from __future__ import annotations

from typing import Any

import pytest
from rich.console import Console

from ncbench.cli.progress import Bar

FIGURES = "loss 0.6900  accuracy 100.0  group mean 100.0  worst group 100.0"
ENTRY: dict[str, Any] = {
    "epoch": 1234,
    "losses": {"loss": 0.69},
    "metrics": {"test": {"accuracy": 1.0, "group_mean_accuracy": 1.0, "worst_group_accuracy": 1.0}},
}


@pytest.mark.parametrize("width", [30, 60, 80, 200])
def test_the_bar_and_its_figures_are_two_lines_that_fit(width: int) -> None:
    console = Console(force_terminal=True, color_system=None, width=width)
    bar = Bar(console)
    bar.plan(5000, 0)
    bar.epoch(ENTRY)
    with console.capture() as shown:
        console.print(bar.get_renderable())
    lines = [line.rstrip() for line in shown.get().splitlines()]
    assert len(lines) == 2
    assert max(map(len, lines)) <= width
    if width >= 80:
        assert "1234/5000" in lines[0]
        assert lines[1] == FIGURES
