"""P8: `ncbench leaderboard build` on up to 10,000 records, against reading and parsing the same JSON files.

Goal: at most 4 times the reference, and linear in the number of records; and of the pages that it gives, the largest of
each kind at most 3 MB beside the libraries for tables and charts, and usable within 2 s in a browser (from the request
until a table is sorted by a click, and the page painted; beside it the CPU time of all the browser's processes). The
records have the size of real ones: 100 groups a split, 100 epochs of history. The reference is
`json.loads(path.read_bytes())` on every file; both are timed in alternation, in CPU time of this process (nothing here
waits or runs in parallel), after a first pass that fills the file cache.
"""

from __future__ import annotations

import argparse
import gc
import json
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from report import write

from ncbench.contracts.groups import accuracies
from ncbench.leaderboard.build import build
from ncbench.leaderboard.intake.canonical import canonical, content_hash
from ncbench.leaderboard.intake.files import record_path
from ncbench.records.identity import run_id
from ncbench.records.record import Record
from ncbench.training.recipe import Recipe

SIZES = (1000, 2500, 5000, 10_000)
REPEATS = 3
SEEDS = 5
CLASSES = 10
EPOCHS = 100
DATASETS = 20
PLUGIN = {"distribution": "somebody", "version": "1.0"}


def record(number: int) -> dict[str, Any]:
    """Return the content of a valid record; runs of five seeds follow each other."""
    draw = random.Random(number)
    configuration, seed = divmod(number, SEEDS)
    dataset, method = f"data{configuration % DATASETS}", f"method{configuration // DATASETS}"
    groups, metrics = {}, {}
    train_count = 100 + 800 * np.eye(CLASSES, dtype=int)
    for split, count in (("train", train_count), ("test", np.full((CLASSES, CLASSES), 100))):
        correct = np.array([[draw.randint(0, cell) for cell in row] for row in count.tolist()])
        metrics[split] = accuracies(
            count, correct, bias_known=True, aligned_bias=range(CLASSES), train_count=train_count
        )
        groups[split] = [
            {"target": y, "bias": a, "count": int(count[y, a]), "correct": int(correct[y, a])}
            for y, a in np.ndindex(count.shape)
        ]
    recipe = {"epochs": EPOCHS, "batch_size": 256, "optimizer": "adam", "lr": 0.001, "selection": "last"}
    measured = {name: draw.random() for name in metrics["test"]}
    on_the_way = [{name: value * draw.random() for name, value in measured.items()} for _ in range(EPOCHS - 1)]
    content = {
        "schema_version": 1,
        "run_id": run_id(
            method, dataset, "net", str(Recipe.build(recipe, owner="the recipe").spec("recipe")), seed, synthetic=False
        ),
        "status": "completed",
        "reason": None,
        "method": {
            "name": method,
            "spec": method,
            "parameters": {},
            "supervision": {"train": "none", "val": "none", "hierarchy": False},
            "plugin": PLUGIN,
        },
        "dataset": {
            "name": dataset,
            "spec": dataset,
            "parameters": {"conflict": 0.01},
            "synthetic": False,
            "fingerprint": "0" * 64,
            "plugin": PLUGIN,
        },
        "backbone": {"name": "net", "spec": "net", "parameters": {"hidden": 100, "depth": 3}, "plugin": PLUGIN},
        "seed": seed,
        "recipe": recipe,
        "primary_metric": "group_mean_accuracy",
        "selection": {"last": {"epoch": EPOCHS, "metrics": {"test": metrics["test"]}}},
        "metrics": metrics,
        "groups": groups,
        "history": [
            {
                "epoch": epoch,
                "stage": "main",
                "lr": 0.001,
                "losses": {"loss": draw.random()},
                "metrics": {"test": numbers},
                "seconds": {"train": draw.random(), "evaluate": draw.random()},
            }
            for epoch, numbers in enumerate([*on_the_way, metrics["test"]], start=1)
        ],
        "environment": {"ncbench": "0.1.0", "python": "3.11", "device": "cpu"},
        "timing": {"train_seconds": 12.5},
        "created": "2026-01-01T00:00:00Z",
    }
    Record.model_validate(content)
    return content


def place(board: Path, numbers: range) -> int:
    """Write records into the archive and return their bytes."""
    total = 0
    for number in numbers:
        content = record(number)
        data = canonical(content)
        path = board / record_path(content["dataset"]["name"], content["method"]["name"], content_hash(data))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        total += len(data)
    return total


def read_and_parse(board: Path) -> None:
    """Do what no build can avoid: read and parse every file."""
    for path in sorted(board.glob("results/*/*/*.json")):
        json.loads(path.read_bytes())


def cpu_seconds(work: Callable[[Path], object], board: Path) -> float:
    """Return the CPU time of one call."""
    gc.collect()
    started = time.process_time()
    work(board)
    return time.process_time() - started


def pages(board: Path) -> list[dict[str, str | int | float | bool | None]]:
    """Open the largest page of each kind in a browser; return their sizes and the seconds until they are usable."""
    import shutil

    from playwright.sync_api import sync_playwright

    site = board / "site"
    rows: list[dict[str, str | int | float | bool | None]] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"))
        processes = browser.new_browser_cdp_session()

        def spent() -> float:
            return sum(one["cpuTime"] for one in processes.send("SystemInfo.getProcessInfo")["processInfo"])

        for kind in ("index.html", "datasets/*.html", "methods/*.html"):
            path = max(site.glob(kind), key=lambda page: page.stat().st_size)
            times = []
            for _ in range(REPEATS):
                page = browser.new_page()
                before = spent()
                page.goto(path.as_uri())
                page.locator("table.board thead .dt-column-order").first.click()
                wall = (
                    page.evaluate("new Promise((done) => requestAnimationFrame(() => done(performance.now())))") / 1000
                )
                times.append((wall, spent() - before))
                page.close()
            wall, cpu = (round(statistics.median(column), 2) for column in zip(*times, strict=True))
            megabytes = round(path.stat().st_size / 1e6, 2)
            rows.append({"page": kind, "megabytes": megabytes, "seconds": wall, "cpu_seconds": cpu, "repeats": REPEATS})
        browser.close()
    return rows


def main() -> None:
    """Measure, print and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    sizes = sorted(parser.parse_args().sizes)
    rows: list[dict[str, str | int | float | bool | None]] = []
    with tempfile.TemporaryDirectory() as folder:
        board = Path(folder)
        (board / "results").mkdir()
        written, total = 0, 0
        for size in sizes:
            total += place(board, range(written, size))
            written = size
            built = build(board)
            assert built.counted == size, built.left_out[:3]
            read_and_parse(board)
            pairs = [(cpu_seconds(build, board), cpu_seconds(read_and_parse, board)) for _ in range(REPEATS)]
            ours, reference = (statistics.median(column) for column in zip(*pairs, strict=True))
            rows.append(
                {
                    "records": size,
                    "megabytes": round(total / 1e6, 1),
                    "reference_seconds": round(reference, 3),
                    "build_seconds": round(ours, 3),
                    "ratio": round(statistics.median(a / b for a, b in pairs), 2),
                    "build_ms_per_record": round(1000 * ours / size, 3),
                    "repeats": REPEATS,
                }
            )
        opened = pages(board)
    write(
        "p8_pages",
        opened,
        notes=[f"of {sizes[-1]} records; the libraries are not counted", "goal: 3 MB and 2 s"],
    )
    write(
        "p8_leaderboard",
        rows,
        notes=[
            "reference: read_bytes and json.loads on the same files; medians of CPU seconds, and of the paired ratios",
            "goal: ratio <= 4, build_ms_per_record constant",
        ],
    )


if __name__ == "__main__":
    main()
