"""`ncbench plot --kind geometry`: every picture of a real run is there, says what it shows, and is always the same."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import ncbench
from ncbench.features.snapshot import SNAPSHOT_FILE
from ncbench.pictures.style import save_figure, shared_style, title
from ncbench.records.archive import RunResult, write_result

Cli = Callable[..., tuple[int, str, str]]
PICTURES = ("collapse", "grams", "frame")


@pytest.fixture
def cli(cli: Cli) -> Cli:
    """Run ``ncbench plot --kind geometry --format svg``, unless the format is given once more."""
    return lambda *arguments: cli("plot", "--kind", "geometry", "--format", "svg", *arguments)


KEPT = ("nc1", "nc2_etf_distance", "seli_distance_means")


def measuring_less(run: RunResult) -> RunResult:
    """The run with two panels of collapse measures, which are drawn faster than nine."""
    history = []
    for entry in run.record.history:
        train = entry.metrics.get("train", {})
        metrics = {"train": {name: train[name] for name in KEPT if name in train}}
        history.append(entry.model_copy(update={"metrics": metrics}))
    result = RunResult(run.record.model_copy(update={"history": history}), run.folder)
    write_result(result)
    return result


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def even(output: Path) -> RunResult:
    run = ncbench.run("shortcut_prime", "colored_digits:conflict=0.2", set={"recipe.epochs": 2}, output=output)
    return measuring_less(run)


@pytest.fixture(scope="module")
def uneven(output: Path) -> RunResult:
    dataset = "colored_digits:conflict=0.2,imbalance=step,ratio=5"
    return ncbench.run("erm", dataset, set={"recipe.epochs": 2}, output=output)


def texts(folder: Path, picture: str) -> str:
    """The texts of an SVG, each a line of an element."""
    return (folder / f"{picture}.svg").read_text()


def copied(run: RunResult, folder: Path, **changes: Any) -> RunResult:
    """The run's record elsewhere, changed, and nothing beside it."""
    folder.mkdir()
    result = RunResult(run.record.model_copy(update=changes), folder)
    write_result(result)
    return result


def test_every_picture_is_there_and_always_the_same(cli: Cli, uneven: RunResult, tmp_path: Path) -> None:
    for folder in (uneven.folder, tmp_path):
        for ending in ("svg", "png"):
            where = ["--output", folder] if folder == tmp_path else []
            code, out, err = cli(uneven.folder, *where, "--format", ending)
            assert (code, err) == (0, "")
            assert out.split() == [str(folder / f"{name}.{ending}") for name in PICTURES]
    for name in PICTURES:
        assert texts(uneven.folder, name) == texts(tmp_path, name)
        with Image.open(tmp_path / f"{name}.png") as image:
            pixels = np.asarray(image.convert("RGB"))
        assert (pixels[0] == 255).all()  # a white margin
        assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 50
        assert 0.02 < (pixels != 255).any(axis=2).mean() < 0.9

    run = "erm / colored_digits:conflict=0.2,imbalance=step,ratio=5.0 / mlp"
    curves = texts(tmp_path, "collapse")
    for text in (f"{run} (seed 0)", "epoch", "of the target", "of the bias", "class means", "classifier", "to SELI"):
        assert f">{text}</text>" in curves
    for measure in ("NC1: within", "NC1: class-distance", "NC2: equal norms", "NC2: largest angles", "NC3", "NC4"):
        assert f">{measure}" in curves
    grams = texts(tmp_path, "grams")
    for text in ("cosine (no unit)", "class means: measured", "classifier: SELI for these counts", f"{run}, seed 0"):
        assert f">{text}" in grams
    distance = uneven.metrics["train"]["seli_distance_classifier"]
    assert f">distance {distance:.4f}</text>" in grams
    frame = texts(tmp_path, "frame")
    for text in ("class 0", "class 9", "simplex ETF", "SELI's class means", "bias-conflicting image", f"{run}, seed 0"):
        assert f">{text}" in frame
    assert "root mean square lengths of the class means" in frame
    assert "squared length that the projection keeps: features" in frame


def test_seli_is_shown_only_where_it_differs(cli: Cli, even: RunResult, tmp_path: Path) -> None:
    assert cli(even.folder, "--output", tmp_path)[0] == 0
    for name in PICTURES:
        assert "SELI" not in texts(tmp_path, name)
        assert "simplex ETF" in texts(tmp_path, name)
    assert "zero training error" not in texts(tmp_path, "collapse")


@pytest.mark.parametrize(
    ("method", "dataset", "ideal", "frozen"),
    [
        ("haframe", "cifar100", "class means: hierarchy-aware frame", "frozen to the hierarchy-aware frame"),
        ("fixed_seli", "colored_digits:imbalance=step,ratio=5", "class means: SELI for these counts", "frozen to SELI"),
    ],
)
def test_a_frozen_classifier_is_named_and_is_an_ideal(
    cli: Cli, tmp_path: Path, method: str, dataset: str, ideal: str, frozen: str
) -> None:
    settings = {"recipe.epochs": 1, "recipe.batch_size": 64, "recipe.measure_points": 1}
    options: dict[str, Any] = {"set": settings, "output": tmp_path, "synthetic": dataset == "cifar100"}
    run = ncbench.run(method, dataset, backbone="mlp", **options)
    assert cli(measuring_less(run).folder)[0] == 0
    grams = texts(run.folder, "grams")
    assert grams.count(f">{ideal}</text>") == 1
    assert f">classifier: {frozen}</text>" in grams
    assert (">hierarchy-aware frame</text>" in texts(run.folder, "frame")) == (method == "haframe")
    for name in PICTURES:
        assert ("synthetic data, not the real dataset" in texts(run.folder, name)) == (dataset == "cifar100")


def test_a_run_of_a_method_that_is_not_installed_is_drawn(cli: Cli, even: RunResult, tmp_path: Path) -> None:
    method = even.record.method.model_copy(update={"name": "elsewhere"})
    folder = copied(even, tmp_path / "run", method=method).folder
    shutil.copy(even.folder / SNAPSHOT_FILE, folder)
    assert cli(folder)[0] == 0
    assert "classifier: measured" in texts(folder, "grams")


def test_several_runs_share_the_curves(cli: Cli, even: RunResult, tmp_path: Path) -> None:
    other = copied(even, tmp_path / "other", seed=7, terminal_phase_epoch=2)
    code, out, err = cli(even.folder, other.folder, "--output", tmp_path)
    assert code == 0
    assert out.split() == [str(tmp_path / "collapse.svg")]
    assert err.count("\n") == 1
    assert "name one" in err
    assert "mlp (seeds 0, 7)</text>" in texts(tmp_path, "collapse")
    assert "first measured epoch with zero training error" in texts(tmp_path, "collapse")


@pytest.mark.parametrize(
    ("status", "way_on"), [("completed", "--force"), ("interrupted", "--resume"), ("diverged", "recipe.lr")]
)
def test_a_run_without_features_still_has_its_curves(
    cli: Cli, even: RunResult, tmp_path: Path, status: str, way_on: str
) -> None:
    result = copied(even, tmp_path / "run", status=status)
    code, out, err = cli(result.folder)
    assert code == 0
    assert [Path(line).name for line in out.split()] == ["collapse.svg"]
    assert err.count("\n") == 1
    for text in (str(result.folder), SNAPSHOT_FILE, status, way_on):
        assert text in err


def test_nothing_at_all_to_draw_is_an_error(cli: Cli, even: RunResult, tmp_path: Path) -> None:
    code, out, err = cli(copied(even, tmp_path / "run", history=[], status="diverged").folder)
    assert (code, out) == (2, "")
    assert err.startswith("Error: ")
    assert err.count("\n") == 1
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["result.json"]


def test_a_damaged_file_is_an_error(cli: Cli, even: RunResult, tmp_path: Path) -> None:
    folder = copied(even, tmp_path / "run").folder
    shutil.copy(even.folder / SNAPSHOT_FILE, folder)
    with (folder / SNAPSHOT_FILE).open("r+b") as file:
        file.truncate(1000)
    code, out, err = cli(folder)
    assert (code, out) == (3, "")
    assert f"{SNAPSHOT_FILE} cannot be read" in err


def test_means_that_coincide_are_told(cli: Cli, even: RunResult, tmp_path: Path) -> None:
    folder = copied(even, tmp_path / "run").folder
    with np.load(even.folder / SNAPSHOT_FILE) as archive:
        arrays = {name: archive[name] for name in archive.files}
    for name in ("means", "features"):  # a network whose units have all died
        arrays[name] = np.zeros_like(arrays[name])
    np.savez(folder / SNAPSHOT_FILE, **arrays)
    code, out, err = cli(folder)
    assert code == 2
    assert [Path(line).stem for line in out.split()] == ["collapse", "grams"]
    assert "their means coincide" in err


def test_a_folder_that_cannot_be_written(cli: Cli, even: RunResult, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    code, _, err = cli(even.folder, "--output", tmp_path / "file")
    assert code == 2
    assert "cannot be written" in err
    assert "--output" in err


def test_a_name_with_dollar_signs_is_no_formula(tmp_path: Path) -> None:
    from matplotlib.figure import Figure

    with shared_style():
        figure = Figure()
        figure.suptitle(title(r"erm / $\nothing$ / mlp"))
        save_figure(figure, tmp_path / "name.svg", "--output")
    assert r"$\nothing" in texts(tmp_path, "name")
