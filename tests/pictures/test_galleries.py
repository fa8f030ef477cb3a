"""The images that a run gets wrong: which are shown, and that what is written beside them is text."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import ncbench
from ncbench import ConfigurationError
from ncbench.data.store.prepare import prepare
from ncbench.discovery.registry import registry
from ncbench.features.predictions import Predictions, read_predictions
from ncbench.pictures.galleries import GROUPS, IMAGES, MOST_GROUPS, Row, mistakes, plot_gallery, write_page

Cli = Callable[..., tuple[int, str, str]]
HOSTILE = "<script>alert(1)</script> $x_{$"


def predictions(number: int = 200, seed: int = 0, **changes: Any) -> Predictions:
    """Of three classes and two bias values, about half of them wrong."""
    draw = np.random.default_rng(seed)
    share = draw.dirichlet(np.ones(3), number).astype(np.float32)
    values: dict[str, Any] = {
        "target": draw.integers(3, size=number),
        "predicted": share.argmax(axis=1),
        "class_names": ["cat", "dog", HOSTILE],
        "bias": draw.integers(2, size=number),
        "bias_names": ["land", HOSTILE],
        "probability": share,
    }
    return Predictions(**{**values, **changes})


def numbered(number: int) -> np.ndarray:
    """Images whose pixels say which they are."""
    return np.broadcast_to(np.arange(number, dtype=np.uint8)[:, None, None, None], (number, 4, 4, 3))


@given(st.integers(0, 50))
def test_the_worst_groups_mistakes_are_shown_most_confident_first(seed: int) -> None:
    p = predictions(seed=seed)
    assert p.bias is not None
    assert p.probability is not None
    accuracies = {
        (target, bias): (p.predicted == p.target)[(p.target == target) & (p.bias == bias)].mean()
        for target, bias in {*zip(p.target.tolist(), p.bias.tolist(), strict=True)}
    }
    shown = []
    for row in mistakes(p, numbered(200)):
        index = row.images[:, 0, 0, 0].astype(int)
        assert (p.predicted[index] != p.target[index]).all()
        (group,) = {*zip(p.target[index].tolist(), p.bias[index].tolist(), strict=True)}
        confidence = p.probability[index, p.predicted[index]]
        assert (np.diff(confidence) <= 0).all()
        inside = (p.target == group[0]) & (p.bias == group[1]) & (p.predicted != p.target)
        others = np.setdiff1d(np.flatnonzero(inside), index)
        assert len(index) == min(IMAGES, inside.sum())
        assert (p.probability[others, p.predicted[others]] <= confidence[-1]).all()
        assert row.captions == [
            f"{p.class_names[p.predicted[each]]} ({100 * p.probability[each].max():.0f}%)" for each in index
        ]
        shown.append(accuracies[group])
    assert shown == pytest.approx(sorted(accuracies.values())[:GROUPS])


def test_without_bias_or_probabilities_there_are_classes_and_names_alone() -> None:
    rows = mistakes(predictions(bias=None, bias_names=(), probability=None), numbered(200))
    assert {row.heading.split(":")[0] for row in rows} == {"cat", "dog", HOSTILE}
    assert {caption for row in rows for caption in row.captions} <= {"cat", "dog", HOSTILE}


def test_where_nothing_is_wrong_there_is_nothing_to_show() -> None:
    right = predictions()
    with pytest.raises(ConfigurationError, match="no mistakes"):
        mistakes(predictions(predicted=right.target), numbered(200))


@pytest.mark.parametrize("channels", [1, 3])
def test_names_are_text_in_picture_and_page(tmp_path: Path, channels: int) -> None:
    rows = mistakes(predictions(), numbered(200)[..., :channels])
    page = write_page(rows, HOSTILE, tmp_path / "errors.html").read_text()
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert len(re.findall(r'src="data:image/png;base64,', page)) == sum(len(row.images) for row in rows)
    assert not re.search(r"(src|href)=\"(?!data:)", page)
    first, again = (plot_gallery(rows, HOSTILE, tmp_path / name, "--output") for name in ("a.svg", "b.svg"))
    assert first.read_bytes() == again.read_bytes()
    assert plot_gallery(rows[:1], HOSTILE, tmp_path / "a.png", "--output").read_bytes().startswith(b"\x89PNG")


def test_what_spoke_for_a_prediction_is_shown_below_the_image(tmp_path: Path) -> None:
    rows = mistakes(predictions(), numbered(200))
    maps = [np.linspace(0, 1, row.images[..., 0].size, dtype=np.float32).reshape(row.images.shape[:3]) for row in rows]
    mapped = [replace(row, maps=each) for row, each in zip(rows, maps, strict=True)]
    plain, page = (write_page(each, "Mistakes", tmp_path / "errors.html").read_text() for each in (rows, mapped))
    assert page.count("<img") == 2 * plain.count("<img")
    assert page.count("<figcaption>") == plain.count("<figcaption>")
    few = [mapped[0], rows[1]]  # of one network all rows have maps or none has; a gallery does not rely on it
    assert plot_gallery(few, "Mistakes", tmp_path / "a.png", "--output").read_bytes().startswith(b"\x89PNG")


def test_headings_end_inside_the_picture(tmp_path: Path) -> None:
    long = "Mistakes on test images: erm / colored_digits:conflict=0.005 / small_cnn, seed 0, epoch 2. " * 2
    row = Row(long, numbered(2), ["cat", "dog"])
    picture = np.asarray(Image.open(plot_gallery([row], long, tmp_path / "a.png", "--output")).convert("L"))
    above = picture[: len(picture) // 3]
    assert above.min() < 100  # there are letters
    assert above[:, :4].min() == above[:, -4:].min() == 255  # and none at the edges


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_datasets_groups_are_shown_with_their_sizes(tmp_path: Path, cli: Cli, split: str) -> None:
    code, out, _ = cli("data", "show", "colored_digits", "--split", split, "--output", tmp_path)
    assert code == 0
    png, html = map(Path, out.splitlines())
    assert png.read_bytes().startswith(b"\x89PNG")
    store = prepare(registry().find("datasets", "colored_digits").card, {})
    target, bias = store.splits[split].target, store.splits[split].bias
    assert bias is not None
    shown = re.findall(r"<h2>(\w+), ([\w ]+): ([\d,]+) of ([\d,]+) images", html.read_text())
    assert 2 < len(shown) <= MOST_GROUPS
    for name, value, count, whole in shown:
        inside = (target == store.class_names.index(name)) & (bias == store.bias_names.index(value))
        assert (int(count.replace(",", "")), int(whole.replace(",", ""))) == (inside.sum(), len(target))
    sizes = [int(count.replace(",", "")) for _, _, count, _ in shown]
    assert sizes == sorted(sizes, reverse=True)
    groups = len({*zip(target.tolist(), bias.tolist(), strict=True)})
    assert f"the smallest of {groups} groups" in html.read_text()


def test_a_split_that_is_not_there_is_refused(tmp_path: Path, cli: Cli) -> None:
    code, _, err = cli("data", "show", "colored_digits", "--split", "tset", "--output", tmp_path)
    assert code == 2
    assert "Did you mean 'test'" in err


def test_the_command_shows_what_the_run_got_wrong(tmp_path: Path, cli: Cli) -> None:
    result = ncbench.run("erm", set={"recipe.epochs": 1}, output=tmp_path / "runs")
    code, out, _ = cli("errors", result.folder)
    assert code == 0
    assert out.splitlines() == [str(result.folder / "errors.png"), str(result.folder / "errors.html")]
    page = (result.folder / "errors.html").read_text()
    record = result.record
    worst = min(group.correct / group.count for group in record.groups["test"])
    assert f"correct ({100 * worst:.1f}%)" in page
    assert len(read_predictions(result.folder)) == sum(group.count for group in record.groups["test"])
    ncbench.run("erm", set={"recipe.epochs": 1}, output=tmp_path / "runs", force=True)
    assert not [*result.folder.glob("errors.*")]  # which were of the run that is discarded
    code, _, err = cli("errors", result.folder, "--split", "val")
    assert (code, err.count("\n")) == (2, 1)
    kept = result.folder / "predictions.parquet"
    table = pq.read_table(kept)
    pq.write_table(table.slice(1), kept)
    code, _, err = cli("errors", result.folder)
    assert (code, err.count("\n")) == (3, 1)
    kept.unlink()
    assert cli("errors", result.folder)[0] == 3
