"""The page on datasets, metrics and backbones: its packages are installed as third parties' and put to the checks."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pydantic
import pytest
import torch
import yaml

import ncbench
from ncbench import ConfigurationError, DataError, Evaluation, conformance
from ncbench.cli.tables.comparison import print_comparison
from ncbench.cli.tables.result import print_result
from ncbench.conformance.properties.metrics import splits_of_every_kind
from ncbench.contracts import hookspecs
from ncbench.data.sources.manifest import (
    Extraction,
    HttpFile,
    HubSource,
    Licence,
    Lookalike,
    Manifest,
    SourceFile,
    SplitCounts,
    load_manifest,
)
from ncbench.data.store.prepare import prepare
from ncbench.discovery import registry as discovery
from ncbench.discovery.scaffold import STARTS

DOCS = Path(__file__).parent.parent / "docs"
PAGE = (DOCS / "writing-a-plugin.md").read_text(encoding="utf-8")
FILES = re.findall(r"^`src/([^`]+)`:\n\n```\w+\n(.*?)```", PAGE, re.DOTALL | re.MULTILINE)
PLUGINS = (("mushrooms", "dataset"), ("margins", "metric"), ("strided_cnn", "backbone"))


@pytest.fixture(scope="module", autouse=True)
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Lay the page's packages out as installed distributions, and have them discovered."""
    site = tmp_path_factory.mktemp("site")
    for path, content in FILES:
        file = site / path
        file.parent.mkdir(exist_ok=True)
        file.write_text(content)
    packages = sorted(path.name for path in site.iterdir())
    for package in packages:
        info = site / f"{package}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package.replace('_', '-')}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[ncbench]\nplugin = {package}\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(site))
        patch.setenv("NCBENCH_PLUGINS", ",".join(package.replace("_", "-") for package in packages))
        discovery.registry.cache_clear()
        yield
    discovery.registry.cache_clear()


def test_the_page_has_two_modules_of_each_kind_and_a_manifest() -> None:
    names = [Path(path).name for path, _ in FILES]
    assert sorted(names) == sorted(
        [*["__init__.py"] * 3, "dataset.py", "metric.py", "backbone.py", "mushrooms.yaml"],
    )


@pytest.mark.parametrize(("name", "kind"), PLUGINS)
def test_the_examples_pass_every_check(name: str, kind: str) -> None:
    report = conformance.check(name, kind)
    assert report.ok, str(report)
    assert not discovery.registry().broken


def test_the_manifest_promises_what_the_twin_holds(tmp_path: Path) -> None:
    card = discovery.registry().find("datasets", "mushrooms").card
    card.load().synthesize(tmp_path)
    store = prepare(card, {}, data_root=tmp_path)  # as the real data: counts and checksums are enforced
    assert not store.mismatch
    assert {name: len(split) for name, split in store.splits.items()} == {"train": 80, "val": 20, "test": 40}
    promised = load_manifest(card.manifest)
    pixels = store.splits["train"].inputs / 255
    assert pixels.mean(axis=(0, 1, 2)) == pytest.approx(promised.channel_mean, abs=0.01)
    assert pixels.std(axis=(0, 1, 2)) == pytest.approx(promised.channel_std, abs=0.01)


def test_a_changed_table_is_refused(tmp_path: Path) -> None:
    card = discovery.registry().find("datasets", "mushrooms").card
    card.load().synthesize(tmp_path)
    table = tmp_path / "mushrooms" / "metadata.csv"
    table.write_text(table.read_text().replace("forest,test", "meadow,test", 1))
    with pytest.raises(DataError, match=r"test: expected images a group .*; metadata.csv .*sha256"):
        prepare(card, {}, data_root=tmp_path)


def test_the_three_work_together(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = {"recipe.epochs": 1}
    backbone = "strided_cnn:width=4"
    result = ncbench.run(
        "erm", "mushrooms", backbone=backbone, set=settings, synthetic=True, output=tmp_path, device="cpu"
    )
    assert result.metrics["test"].keys() >= {"worst_group_accuracy", "margin_mean", "margin_worst_group"}
    assert "margin_mean" not in result.metrics["train"]
    for show in (lambda: print_result(result), lambda: print_comparison([result])):
        show()
        assert "margin_worst_group" in capsys.readouterr().out


def test_the_other_sources_are_valid_too() -> None:
    first, second = (yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL))
    whole = Manifest.model_validate({**first, **second})
    assert [source.kind for source in whole.sources] == ["http", "hub", "manual"]
    for part, model in (
        (first["licence"], Licence),
        (first["files"][0], SourceFile),
        (first["counts"]["train"], SplitCounts),
        (second["sources"][0]["files"][1], HttpFile),
        (second["sources"][0]["files"][1]["extract"], Extraction),
        (second["sources"][1], HubSource),
        (second["lookalikes"][0], Lookalike),
    ):
        assert part.keys() == model.model_fields.keys(), f"the page shows every key of {model.__name__}"


def test_the_table_has_every_key_of_the_manifest() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| (yes|no) \|", PAGE, re.MULTILINE))
    fields: dict[str, pydantic.fields.FieldInfo] = Manifest.model_fields
    assert rows == {name: "yes" if field.is_required() else "no" for name, field in fields.items()}


def test_the_tables_name_every_hook_of_cards_and_every_field_of_an_evaluation() -> None:
    for kind, card in discovery.KINDS.items():
        base = {"groups": "GroupInference"}.get(kind, card.__name__.removesuffix("Card"))
        row = f"| {discovery.singular(kind)} | `ncbench_{kind}` | `{card.__name__}` | `{base}` |"
        assert hasattr(hookspecs, f"ncbench_{kind}")
        assert row in PAGE
    table = PAGE.split("| field of `Evaluation` |")[1].split("\n\n")[0]
    fields = [name for row in table.splitlines()[2:] for name in re.findall(r"`(\w+)`", row.split("|")[1])]
    assert sorted(fields) == sorted(field.name for field in dataclasses.fields(Evaluation))
    assert {"dataset", "metric", "backbone"} <= STARTS.keys()  # what `plugins new` writes, by the page


def test_the_metric_is_the_formula() -> None:
    evaluation: Any = next(iter(splits_of_every_kind().values()))
    rows = evaluation.logits.double().tolist()
    target, bias = evaluation.target.tolist(), evaluation.bias.tolist()
    margin = [row[y] - max(row[:y] + row[y + 1 :]) for row, y in zip(rows, target, strict=True)]
    groups: dict[tuple[int, int], list[float]] = {}
    for value, *group in zip(margin, target, bias, strict=True):
        groups.setdefault((group[0], group[1]), []).append(value)
    metrics = discovery.registry().find("metrics", "margins").card.load()().compute(evaluation)
    assert metrics["margin_mean"] == pytest.approx(sum(margin) / len(margin))
    assert metrics["margin_worst_group"] == pytest.approx(min(sum(each) / len(each) for each in groups.values()))


def test_the_backbone_takes_the_images_it_says_it_takes() -> None:
    backbone = discovery.registry().find("backbones", "strided_cnn").card.load()
    params = backbone.Parameters.build({"width": 4}, owner="strided_cnn")
    assert backbone((1, 5, 5), params).train()(torch.rand(1, 1, 5, 5)).shape == (1, 8)
    with pytest.raises(ConfigurationError, match="at least 5 x 5 pixels"):
        backbone((3, 4, 9), params)


def test_the_pages_lead_to_each_other() -> None:
    assert "writing-a-method.md" in PAGE
    for page in (DOCS / "writing-a-method.md", DOCS.parent / "README.md"):
        assert "writing-a-plugin.md" in page.read_text(encoding="utf-8")
