"""Reported numbers: what the file may hold, what is refused, and that they never mix with ranked rows."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from ncbench.cli.commands.leaderboard import leaderboard
from ncbench.contracts.dataset import DatasetParameters
from ncbench.contracts.errors import ConfigurationError
from ncbench.contracts.specs import Spec
from ncbench.discovery.registry import registry
from ncbench.leaderboard.build import build
from ncbench.leaderboard.check import check
from ncbench.leaderboard.tables.reported import FILE, read_reported
from tests.leaderboard.records import dataset_pages, place_all, seeds

COMMITTED = Path(__file__).parents[2] / "leaderboard"
SOUND = """
- label: A paper
  source: Somebody, Something, 2024
  measured: false
  protocol: as they did it
  metric: accuracy
  seeds: 5
  datasets: [toy, "other:conflict=0.1"]
  methods:
    erm: [{value: 30.8, spread: 2.9, seeds: 3}, null]
    theirs: [50, 61.25]
"""


def test_a_table_is_read_as_one_entry_a_number(board: Path) -> None:
    (board / FILE).write_text(SOUND)
    (table,) = read_reported(board)
    found = [(number.method, number.dataset, number.value, number.spread, number.seeds) for number in table.numbers]
    assert found == [
        ("erm", "toy", 30.8, 2.9, 3),
        ("theirs", "toy", 50, None, 5),
        ("theirs", "other:conflict=0.1", 61.25, None, 5),
    ]


def test_a_board_without_the_file_has_no_reported_numbers(board: Path) -> None:
    assert read_reported(board) == []


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("metric: accuracy", "metric: f1", "0.metric: .*not one of"),
        ("[50, 61.25]", "[50]", "theirs has 1 numbers for 2 datasets"),
        ("value: 30.8", "value: 130.8", "less than or equal to 100"),
        ("theirs:", "<script>:", "not a name"),
        ("conflict=0.1", "conflict=0.10", "write it as 'other:conflict=0.1'"),
        ("other:conflict", "Other", "not a spec"),
        ("protocol: as they did it", 'protocol: "a\\u202eb"', "characters that print"),
        ("seeds: 5", "reeds: 5", "0.reeds is not a key that is known"),
        ("measured: false", "", "0.measured is missing"),
        ("- label", "- - label", "not the YAML expected"),
        ("seeds: 5", "seeds: .nan", "0.seeds"),
    ],
)
def test_a_file_that_does_not_fit_is_one_clear_error(board: Path, old: str, new: str, message: str) -> None:
    assert old in SOUND
    (board / FILE).write_text(SOUND.replace(old, new))
    with pytest.raises(ConfigurationError, match=message) as caught:
        build(board)
    assert str(caught.value).isprintable()
    with pytest.raises(ConfigurationError, match=message):
        CliRunner().invoke(leaderboard, ["check", "--board", str(board)], standalone_mode=False, catch_exceptions=False)


def test_a_link_is_not_followed(board: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere.yaml").write_text(SOUND)
    (board / FILE).symlink_to(tmp_path / "elsewhere.yaml")
    with pytest.raises(ConfigurationError, match="cannot be read"):
        read_reported(board)


def test_reported_numbers_stand_beside_ours_and_rank_nothing(board: Path) -> None:
    place_all(board, [*seeds("erm", level=0.2), *seeds("jtt", level=0.3)])
    before = build(board)
    (board / FILE).write_text(SOUND)
    assert any("leaderboard.json" in line for line in check(board).failures)
    after = build(board)
    assert check(board).failures == []
    assert after.datasets == before.datasets
    assert after.overviews == before.overviews
    page = dataset_pages(board)
    assert "Beside <span" in page
    assert '<td class="number reported" data-order="50.0">50.0 <span class="spread">(5)</span>' in page
    assert '<td class="number reported" data-order="30.8">30.8 <span class="spread">±2.9 (3)</span>' in page
    index = (board / "site" / "index.html").read_text()
    assert "61.25" in index[index.index("<h2>Reported elsewhere") :]
    assert "30.8 ±2.9 (3) in A paper" in (board / "site" / "methods" / "erm.html").read_text()
    assert not (board / "site" / "methods" / "theirs.html").exists()


def test_the_committed_specs_are_canonical_where_ncbench_has_the_dataset() -> None:
    """A default left in would keep reported numbers from ever standing beside records."""
    known = 0
    for dataset in sorted({number.dataset for table in read_reported(COMMITTED) for number in table.numbers}):
        spec = Spec.parse(dataset)
        if spec.name not in registry().names("datasets"):
            continue
        kind = registry().find("datasets", spec.name).card.load()
        try:
            canonical = DatasetParameters.build(kind, spec.parameters, dataset).spec(spec.name)
        except ConfigurationError:
            continue  # a variant that ncbench does not have
        known += 1
        assert str(canonical) == dataset
    assert known
