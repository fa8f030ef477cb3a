"""The matrix of methods and datasets: what stands in a column, and that no cell is chosen by its result."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from scipy.stats import ttest_rel

from ncbench.leaderboard.build import build
from ncbench.leaderboard.pages.matrix import Lead, Matrix, matrix
from ncbench.leaderboard.pages.wording import labels_used
from ncbench.leaderboard.tables.board import Row
from tests.leaderboard.records import SOMEBODY, make_record, named, place_all, seeds


def place_row(board: Path, method: str, count: int = 3, backbone: str = "mlp", **options: Any) -> None:
    records = seeds(method, count, **options)
    for record in records:
        record["dataset"]["plugin"] = SOMEBODY
        record["backbone"] |= {"name": backbone, "spec": backbone}
        named(record)
    place_all(board, records)


def cells(found: Matrix) -> dict[tuple[str, str], list[int | None]]:
    """Return the seeds behind each cell, by method and labels of training images."""
    return {(line.method, line.section.train): [cell and len(cell.runs) for cell in line.cells] for line in found.lines}


def leading(board: Path, **levels: tuple[float, ...]) -> tuple[dict[str, Row], Matrix, Lead | None]:
    """Build a board of methods at these levels, one a seed; return its rows, its matrix and what leads."""
    for method, of_seeds in levels.items():
        place_all(board, [make_record(method, seed, level) for seed, level in enumerate(of_seeds)])
    made = build(board)
    found = matrix(made)
    ((lead,),) = (line.cells for line in found.leads)
    return {row.method.name: row for section in made.datasets[0].sections for row in section.rows}, found, lead


def test_a_column_has_one_backbone_and_one_number_of_epochs(board: Path) -> None:
    for method in ("erm", "jtt", "lff"):
        place_row(board, method, epochs=3)
    for method in ("erm", "jtt"):
        place_row(board, method, backbone="resnet18", level=0.9)
    place_row(board, "erm", epochs=2)
    found = matrix(build(board))
    assert [(column.backbone, column.epochs) for column in found.columns] == [("mlp", 3), ("resnet18", 3)]
    assert cells(found) == {("erm", "none"): [3, 3], ("jtt", "none"): [3, 3], ("lff", "none"): [3, None]}


def test_a_dataset_whose_rows_have_nothing_in_common_has_one_column(board: Path) -> None:
    place_row(board, "erm", epochs=2)
    place_row(board, "jtt", epochs=3)
    assert [column.epochs for column in matrix(build(board)).columns] == [3]


def test_other_labels_are_another_line_and_what_does_not_rank_is_none(board: Path) -> None:
    place_row(board, "erm")
    place_row(board, "group_dro", supervision=("bias", "none"))
    place_row(board, "lff", 2, level=0.95)
    assert cells(matrix(build(board))) == {("erm", "none"): [3], ("group_dro", "bias"): [3]}


def test_a_row_that_does_not_rank_says_why_beside_those_of_its_method_that_do(board: Path) -> None:
    for dataset, count in (("toy", 3), ("other", 2)):
        place_row(board, "jtt", count, dataset=dataset)
        place_row(board, "erm", dataset=dataset)
    line = next(line for line in matrix(build(board)).lines if line.method == "jtt")
    assert sorted(len(row.runs) for row in line.unranked if row) == [2]
    assert "2 seeds</span></a>" in (board / "site" / "index.html").read_text()


def test_the_row_that_stands_for_a_method_is_not_chosen_by_its_result(board: Path) -> None:
    place_row(board, "erm", 4, level=0.3, lr=0.1)
    place_row(board, "erm", 3, level=0.9, lr=0.2)
    assert cells(matrix(build(board))) == {("erm", "none"): [4]}


def test_an_empty_board_has_an_empty_matrix(board: Path) -> None:
    assert matrix(build(board)) == Matrix((), (), (), ())


def test_what_leads_are_the_best_of_its_labels_and_all_that_a_paired_test_does_not_tell_apart(board: Path) -> None:
    for method, level in (("erm", 0.3), ("jtt", 0.8), ("lff", 0.78), ("focal", 0.5)):
        place_row(board, method, level=level)
    place_row(board, "group_dro", level=0.6, supervision=("bias", "none"))
    place_row(board, "theirs", level=0.4, plugin=SOMEBODY, supervision=("none", "bias"))
    made = build(board)
    rows = {row.method.name: row for section in made.datasets[0].sections for row in section.rows}
    values = {name: [run.metrics["group_mean_accuracy"] for run in row.runs] for name, row in rows.items()}
    best = max(("jtt", "lff"), key=lambda name: rows[name].metrics["group_mean_accuracy"].mean)
    others = [name for name in ("jtt", "lff", "focal", "erm") if name != best]
    reaching = [best, *(name for name in others if ttest_rel(values[best], values[name]).pvalue >= 0.05)]
    assert 2 <= len(reaching) < 4
    (leads,) = matrix(made).leads
    assert leads.baseline == rows["erm"]
    assert [labels_used(each) for each in matrix(made).labels] == [
        "Using targets alone",
        "Using bias labels of val images",
        "Using bias labels of train images",
    ]
    alone, *others = leads.cells
    assert alone is not None
    level = {row.method.name for row in (alone.best, *alone.near, *alone.unsure)}
    assert (level, alone.best, alone.of) == ({*reaching}, rows[best], 4)
    assert [(lead.best, lead.near, lead.of) for lead in others if lead] == [
        (rows["theirs"], (), 1),
        (rows["group_dro"], (), 1),
    ]
    assert matrix(made).leading == {rows[name].id for name in (*reaching, "theirs", "group_dro") if name != "erm"}
    page = (board / "site" / "index.html").read_text()
    assert "best of 4; not told apart: " in page[page.index('id="leads"') : page.index('id="matrix"')]


def test_what_is_not_told_apart_from_erm_is_not_bold(board: Path) -> None:
    rows, found, lead = leading(board, erm=(0.5, 0.5, 0.5), jtt=(0.8, 0.8, 0.8), afr=(0.9, 0.4, 0.9))
    assert lead == Lead(rows["jtt"], (), (rows["afr"],), 3, {row.id: [] for row in rows.values()})
    assert found.leading == {rows["jtt"].id}
    assert "1 not told apart, and not better than erm for sure" in (board / "site" / "index.html").read_text()


def test_where_the_highest_mean_only_scatters_a_sure_one_is_named_first(board: Path) -> None:
    rows, found, lead = leading(board, erm=(0.5, 0.5, 0.5), jtt=(0.7, 0.7, 0.7), afr=(0.95, 0.5, 0.95))
    assert lead is not None
    assert (lead.best, lead.first, lead.near) == (rows["afr"], rows["jtt"], (rows["jtt"],))
    assert found.leading == {rows["jtt"].id}
    page = (board / "site" / "index.html").read_text()
    leads = page[page.index('id="leads"') : page.index('id="matrix"')]
    assert leads.index("<code>jtt</code>") < leads.index("the highest mean of 3, afr ")
    assert "is not told apart from erm</span>" in leads


def test_rows_that_are_equal_in_every_number_are_all_bold(board: Path) -> None:
    place_row(board, "erm", level=0.3)
    twins = [make_record("jtt", seed, 0.8) for seed in range(3)]
    place_all(board, twins)
    for record in twins:
        record["method"]["name"] = record["method"]["spec"] = "lff"
    place_all(board, [named(record) for record in twins])
    found = matrix(build(board))
    leading = {line.method for line in found.lines for row in line.cells if row and row.id in found.leading}
    assert leading == {"jtt", "lff"}


def test_the_best_of_each_group_of_labels_is_bold(board: Path) -> None:
    for method, level in (("erm", 0.5), ("jtt", 0.8)):
        place_row(board, method, level=level)
    place_row(board, "group_dro", level=0.6, supervision=("bias", "none"))
    build(board)
    page = (board / "site" / "index.html").read_text()
    start = page.index("<table", page.index('id="matrix"'))
    table = page[start : page.index("</table>", start)]
    assert len(re.findall(r'<td class="number primary"', table)) == 2
