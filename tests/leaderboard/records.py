"""Plausible records: integers first, every metric computed from them by definitions written here, in NumPy."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from ncbench.contracts.specs import Spec
from ncbench.data.sources.manifest import load_manifest
from ncbench.leaderboard.intake.canonical import canonical, content_hash
from ncbench.records.identity import run_id
from ncbench.records.record import Record
from ncbench.training.recipe import Recipe

BUILT_IN = {"distribution": "ncbench", "version": "0.1.0"}
SOMEBODY = {"distribution": "somebody", "version": "1.2"}
TRAIN = np.array([[90, 10], [5, 95]])
TEST = np.array([[50, 50], [50, 50]])
EPOCHS = 3


def accuracies(count: np.ndarray, correct: np.ndarray, train: np.ndarray) -> dict[str, float]:
    """The group metrics of one split, from (K, K) counts; class c goes along with attribute c."""
    with np.errstate(invalid="ignore"):
        share = correct / count
    filled = count > 0
    aligned = np.eye(len(count), dtype=bool)
    weight = np.where(filled, train, 0)
    found = {
        "accuracy": correct.sum() / count.sum(),
        "class_mean_accuracy": np.mean(correct.sum(1)[filled.any(1)] / count.sum(1)[filled.any(1)]),
        "group_mean_accuracy": share[filled].mean(),
        "worst_group_accuracy": share[filled].min(),
        "aligned_accuracy": share[filled & aligned].mean(),
        "conflicting_accuracy": share[filled & ~aligned].mean(),
        "adjusted_accuracy": np.nansum(weight * share) / weight.sum(),
    }
    found["balanced_error"] = 1 - found["class_mean_accuracy"]
    return {name: float(value) for name, value in found.items()}


def fingerprint(dataset: str) -> str:
    """The pinned one of a built-in dataset, or any."""
    if dataset in {"colored_digits", "colored_mnist"}:
        known = load_manifest(f"ncbench:datasets_manifest/{dataset}.yaml").fingerprint(dataset)
        return known or "ab" * 32
    return "ab" * 32


def make_record(
    method: str = "erm",
    seed: int = 0,
    level: float = 0.7,
    dataset: str = "toy",
    plugin: dict[str, str] = BUILT_IN,
    train: np.ndarray = TRAIN,
    test: np.ndarray = TEST,
    selection: str = "last",
    supervision: tuple[str, str] = ("none", "none"),
    **recipe: Any,
) -> dict[str, Any]:
    """Return the content of a valid record; `level` is about the share of correct images."""
    draw = random.Random(f"{method} {dataset} {seed} {level} {selection} {sorted(recipe.items())}")
    epochs = recipe.get("epochs", EPOCHS)
    groups, metrics = {}, {}
    for split, count in (("train", train), ("test", test)):
        correct = np.array([[int(cell * min(1, level * draw.uniform(0.9, 1.1))) for cell in row] for row in count])
        metrics[split] = accuracies(count, correct, train)
        groups[split] = [
            {"target": y, "bias": a, "count": int(count[y, a]), "correct": int(correct[y, a])}
            for y in range(len(count))
            for a in range(len(count))
        ]
    content = {
        "schema_version": 1,
        "run_id": "",
        "status": "completed",
        "reason": None,
        "method": {
            "name": method,
            "spec": method,
            "parameters": {},
            "supervision": {"train": supervision[0], "val": supervision[1], "hierarchy": False},
            "plugin": plugin,
        },
        "dataset": {
            "name": dataset,
            "spec": dataset,
            "parameters": {"conflict": 0.01},
            "synthetic": False,
            "fingerprint": fingerprint(dataset),
            "plugin": SOMEBODY if dataset == "toy" else BUILT_IN,
        },
        "backbone": {"name": "mlp", "spec": "mlp", "parameters": {"hidden": 100, "depth": 3}, "plugin": BUILT_IN},
        "seed": seed,
        "recipe": {"epochs": EPOCHS, "lr": 0.001, "optimizer": "adam", "selection": selection, **recipe},
        "primary_metric": "group_mean_accuracy",
        "selection": {selection: {"epoch": epochs, "metrics": {"test": metrics["test"]}}},
        "metrics": metrics,
        "groups": groups,
        "history": [
            {
                "epoch": epoch,
                "stage": "main",
                "lr": recipe.get("lr", 0.001),
                "losses": {"loss": draw.random()},
                "metrics": {"test": metrics["test"]},
                "seconds": {"train": draw.random()},
            }
            for epoch in range(1, epochs + 1)
        ],
        "environment": {"ncbench": "0.1.0", "device": "cpu"},
        "timing": {"train_seconds": 1.5},
        "created": "2026-01-01T00:00:00Z",
    }
    named(content)
    Record.model_validate_json(json.dumps(content), strict=True)
    whole: dict[str, Any] = json.loads(json.dumps(content))  # no part is shared, so that a test may change one
    return whole


def named(content: dict[str, Any]) -> dict[str, Any]:
    """Give a record the id that follows from its configuration and seed, and return it."""
    recipe = Recipe.build({**content["recipe"], "selection": "last"}, owner="the recipe").spec("recipe").parameters
    chosen = content["recipe"]["selection"]
    content["run_id"] = run_id(
        *(content[kind]["spec"] for kind in ("method", "dataset", "backbone")),
        str(Spec("recipe", {**recipe, **({} if chosen == "last" else {"selection": chosen})})),
        content["seed"],
        synthetic=content["dataset"]["synthetic"],
        allow_mismatch=bool(content["dataset"].get("mismatch")),
    )
    return content


def settled(content: dict[str, Any]) -> dict[str, Any]:
    """Let a record say everywhere what its settings and its metrics say by themselves, and return it."""
    named(content)
    told = {split: numbers for split, numbers in content["metrics"].items() if split != "train"}
    content["history"][-1]["metrics"] = copy.deepcopy(told)
    content["selection"] = {content["recipe"]["selection"]: {"epoch": len(content["history"]), "metrics": told}}
    return content


def place(board: Path, content: dict[str, Any], data: bytes | None = None) -> Path:
    """Put a record where it belongs by its content, or other bytes in its place, correctly named; return the file."""
    data = canonical(content) if data is None else data
    folder = board / "results" / content["dataset"]["name"] / content["method"]["name"]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{content_hash(data)}.json"
    path.write_bytes(data)
    return path


def place_all(board: Path, contents: Iterable[dict[str, Any]]) -> list[Path]:
    """Put several records where they belong."""
    return [place(board, content) for content in contents]


def dataset_pages(board: Path) -> str:
    """Return the text of the pages of all datasets of a built board."""
    return "".join(path.read_text() for path in sorted((board / "site" / "datasets").iterdir()))


def seeds(method: str = "erm", count: int = 3, **options: Any) -> list[dict[str, Any]]:
    """Return records that differ in the seed alone."""
    return [make_record(method, seed, **options) for seed in range(count)]
