"""Write what the README shows of results: `python docs/reference/first_page.py` (some minutes, for the picture).

The table follows from the committed leaderboard.json, and a test keeps it so; the picture is drawn from runs made anew.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from typing import Any

import numpy as np
import torch

import ncbench
from ncbench import collapse
from ncbench.data.store.open import Store, StoredSplit
from ncbench.data.store.prepare import prepare
from ncbench.discovery.registry import registry
from ncbench.pictures.style import COLOURS, shared_style
from ncbench.training.configuration import Configuration, resolve
from ncbench.training.finished.method import load_trained

ROOT = Path(__file__).parents[2]
DATASETS = {  # spec -> (heading, epochs)
    "colored_digits": ("coloured digits, 1 %", 100),
    "colored_mnist": ("Colored MNIST, 1 %", 100),
}
METRIC = "group_mean_accuracy"
PHOTOGRAPHS = {  # spec -> (heading, metric); on frozen features
    "bar": ("BAR", "accuracy"),
    "dogs_and_cats:val=0.1,val_bias=uniform": ("Dogs & Cats, 1 %", METRIC),
    "dogs_and_cats:conflict=0.05,val=0.1,val_bias=uniform": ("5 %", METRIC),
}
FROZEN = "efficientnet_lite0:frozen=true,weights=imagenet"
ORDER = ("no images", "validation images", "training images", "all images")
BEST = 4  # methods that are shown for each kind of labels, on each dataset
LABELS = {"none": "targets alone", "bias": "targets and bias attribute"}
METHODS = {"erm": "erm", "shortcut_prime": "shortcut_prime"}
SEEDS = range(5)


def table(board: dict[str, Any]) -> str:
    """Return the README's table of the committed results: methods by datasets, in two groups by the labels they use."""
    cells: dict[tuple[str, str], dict[str, str]] = {}
    for entry in board["datasets"]:
        _, epochs = DATASETS.get(entry["heading"], ("", 0))
        for section in entry["sections"]:
            if (section["selection"], section["val"], section["hierarchy"]) != ("last", "none", False):
                continue
            for row in section["rows"]:  # the best ranked first, and of ncbench's own the first one is shown
                if _is_own(row) and row["epochs"] == epochs and row["backbone"]["spec"] == "mlp":
                    name = (LABELS[section["train"]], row["method"]["name"])
                    cells.setdefault(name, {}).setdefault(entry["heading"], _cell(row))
    return _written("trained on", list(LABELS.values()), DATASETS, cells, set(cells))


def photographs(board: dict[str, Any]) -> str:
    """Return the README's table of real photographs: by labels, erm and the methods that are best on any dataset."""
    cells: dict[tuple[str, str], dict[str, str]] = {}
    best: set[tuple[str, str]] = set()
    for entry in board["datasets"]:
        for section in entry["sections"]:
            if entry["heading"] not in PHOTOGRAPHS or (section["selection"], section["searched"]) != ("last", ""):
                continue
            ranked = [row for row in section["rows"] if row["rank"] is not None and _is_own(row)]
            rows = [row for row in ranked if row["backbone"]["spec"] == FROZEN]
            labels = ORDER[(section["train"] == "bias") * 2 + (section["val"] == "bias")]
            for row in rows:  # the best first
                cell = _cell(row, PHOTOGRAPHS[entry["heading"]][1])
                cells.setdefault((labels, _name(row)), {}).setdefault(entry["heading"], cell)
            best |= {name for name in cells if name[1] == "erm"}
            best |= {(labels, _name(row)) for row in rows[:BEST]}
    return _written("bias attribute of", ORDER, PHOTOGRAPHS, cells, best)


def _written(
    labels: str,
    order: Sequence[str],
    datasets: Mapping[str, tuple[str, Any]],
    cells: Mapping[tuple[str, str], Mapping[str, str]],
    shown: Set[tuple[str, str]],
) -> str:
    """Return some of the cells (labels, method) -> dataset -> text as a table: by labels, erm first."""
    lines = [f"| method | {labels} | {' | '.join(heading for heading, _ in datasets.values())} |"]
    lines += [f"|:--|:--|{'--:|' * len(datasets)}"]
    lines += [
        f"| `{name[1]}` | {name[0]} | {' | '.join(cells[name].get(spec, '') for spec in datasets)} |"
        for name in sorted(shown, key=lambda name: (order.index(name[0]), name[1] != "erm", name[1]))
    ]
    return "\n".join(lines) + "\n"


def _is_own(row: dict[str, Any]) -> bool:
    return bool(row["method"]["distribution"] == row["backbone"]["distribution"] == "ncbench")


def _name(row: dict[str, Any]) -> str:
    return row["method"]["spec"] + f"+{row['groups']}" * bool(row["groups"])


def _cell(row: dict[str, Any], metric: str = METRIC) -> str:
    value = row["metrics"][metric]
    half = "" if value["high"] is None else f" ± {100 * (value['high'] - value['low']) / 2:.1f}"
    return f"{100 * value['mean']:.1f}{half}" + "\\*" * bool(row["tuned_on_test"])


def with_table(readme: str, board: dict[str, Any]) -> str:
    """Return the README with the tables of this board between their marks."""
    end = "<!-- end of the table -->\n"
    for of, made in {"results": table, "photographs": photographs}.items():
        begin = f"<!-- table of {of}, by docs/reference/first_page.py -->\n"
        pattern = re.escape(begin) + ".*?" + re.escape(end)
        content = f"{begin}\n{made(board)}\n{end}"
        readme = re.sub(pattern, lambda _, content=content: content, readme, flags=re.DOTALL)
    return readme


def picture(path: Path) -> None:
    """Draw the data, what two methods get right of it, and what their features are arranged by."""
    import matplotlib.pyplot as plt

    store = _store(resolve("erm", "colored_digits", None, 0, {}, synthetic=False))
    with tempfile.TemporaryDirectory() as output:
        runs = {method: [_trained(method, seed, Path(output)) for seed in SEEDS] for method in METHODS}
    with shared_style():
        figure, axes = plt.subplots(1, 3, figsize=(11, 2.9), width_ratios=(4, 3, 3), layout="constrained")
        examples = _examples(store.splits["train"], store.splits["test"])
        axes[0].imshow(examples, interpolation="nearest")
        axes[0].set_yticks([len(examples) / 6, 2 * len(examples) / 3], ["training", "test"], rotation=90, va="center")
        axes[0].set(title="In training, the colour tells the digit", xticks=[])
        axes[0].spines[:].set_visible(False)
        axes[0].tick_params(length=0)
        for (method, results), colour in zip(runs.items(), COLOURS, strict=False):
            accuracies = 100 * np.array([accuracy for accuracy, _ in results])  # (seeds, epochs)
            epochs = np.arange(1, accuracies.shape[1] + 1)
            axes[1].plot(epochs, accuracies.mean(axis=0), color=colour, label=method)
            axes[1].fill_between(epochs, accuracies.min(axis=0), accuracies.max(axis=0), color=colour, alpha=0.2, lw=0)
        axes[1].set(title="Accuracy on test images of another colour", xlabel="epoch", ylabel="%", ylim=(0, None))
        axes[1].legend(loc="lower right")
        for place, attribute in enumerate(("digit", "colour")):
            for (method, results), colour, aside in zip(runs.items(), COLOURS, (-0.2, 0.2), strict=False):
                spread = [of[attribute] for _, of in results]
                axes[2].bar(place + aside, np.mean(spread), 0.36, color=colour, label=method if not place else None)
                axes[2].plot([place + aside] * len(spread), spread, ".", color="black", markersize=3)
        axes[2].set(title="Spread of test features (low: clustered)", ylabel="class-distance variance")
        axes[2].set_xticks([0, 1], ["by digit", "by colour"])
        axes[2].legend(loc="upper left")
        for axis in axes[1:]:
            axis.grid(axis="y")
        figure.savefig(path, dpi=140)


def _trained(method: str, seed: int, output: Path) -> tuple[list[float], dict[str, float]]:
    """Return conflicting test accuracy after every epoch, and the spread of test features by attribute."""
    result = ncbench.run(method, "colored_digits", seed=seed, output=output, device="cpu")
    configuration = resolve(method, "colored_digits", None, seed, {}, synthetic=False)
    store = _store(configuration)
    test, net = store.splits["test"], load_trained(configuration, store, result.path.parent, torch.device("cpu"))
    with torch.inference_mode():
        features = net.features(torch.from_numpy(test.inputs.copy()).permute(0, 3, 1, 2) / 255)
    attributes = {"digit": test.target, "colour": test.bias}
    spread = {
        name: collapse.measure(features, torch.from_numpy(labels.copy()), num_classes=10)["nc1_cdnv"]
        for name, labels in attributes.items()
    }
    accuracies = [entry.metrics["test"]["conflicting_accuracy"] for entry in result.record.history]
    return accuracies, spread


def _store(configuration: Configuration) -> Store:
    return prepare(registry().find("datasets", "colored_digits").card, configuration.dataset.params)


def _examples(train: StoredSplit, test: StoredSplit) -> np.ndarray:
    """Return one image of each digit in its own colour above, two in others below: (H, W, 3) uint8."""
    rows = [(train, 0), (test, 3), (test, 7)]  # a split, and how many colours on from the digit's own
    pictures = [
        np.concatenate([_example(split, digit, (digit + shift) % 10) for digit in range(10)], axis=1)
        for split, shift in rows
    ]
    gap = np.full((2, pictures[0].shape[1], 3), 255, np.uint8)
    return np.concatenate([pictures[0], gap, *pictures[1:]])


def _example(split: StoredSplit, digit: int, colour: int) -> np.ndarray:
    """Return the first image of a digit in a colour: (H, W, 3) uint8."""
    assert split.bias is not None
    return split.inputs[np.flatnonzero((split.target == digit) & (split.bias == colour))[0]]


if __name__ == "__main__":
    readme = ROOT / "README.md"
    readme.write_text(with_table(readme.read_text(), json.loads((ROOT / "leaderboard/leaderboard.json").read_text())))
    picture(ROOT / "docs/images/first_page.png")
