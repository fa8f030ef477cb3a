"""Hierarchies: every way in, what is refused, and the distances."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ncbench.geometry import Hierarchy


@st.composite
def parent_lists(draw: st.DrawFn) -> list[int]:
    return [-1] + [draw(st.integers(max(0, node - 8), node - 1)) for node in range(1, draw(st.integers(2, 40)))]


def lca_height(tree: Hierarchy, i: int, j: int) -> float:
    if i == j:
        return 0.0
    above = set(tree.ancestors(i))
    return next(tree.heights[node] for node in tree.ancestors(j) if node in above)


@settings(max_examples=50, deadline=None, derandomize=True)
@given(parents=parent_lists())
def test_distances_are_heights_of_lowest_common_ancestors(parents: list[int]) -> None:
    tree = Hierarchy.from_parents(parents, [f"n{node}" for node in range(len(parents))])
    k = tree.num_classes
    expected = [[lca_height(tree, i, j) for j in range(k)] for i in range(k)]
    assert tree.distances().tolist() == expected
    layout = {"classes": tree.classes, "node_names": tree.node_names, "parent": tree.parents}
    assert Hierarchy.from_json({**json.loads(json.dumps(layout)), "height_of_node": list(tree.heights)}) == tree
    assert len(tree.render(max_children=100).splitlines()) == tree.num_nodes


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("name", "classes", "height"),
    [("cifar100", 100, 5), ("fgvc_aircraft", 100, 3), ("inaturalist19", 1010, 7), ("tiered_imagenet_h", 608, 12)],
)
def test_published_hierarchies(hierarchies: Path, name: str, classes: int, height: int) -> None:
    data = json.loads((hierarchies / f"{name}.json").read_text())
    tree = Hierarchy.from_json(hierarchies / f"{name}.json")
    assert (tree.name, tree.num_classes, tree.height) == (name, classes, height)
    assert list(tree.classes) == data["classes"]
    distances = tree.distances()
    assert float(distances.max()) == height
    torch.testing.assert_close(distances, distances.T)
    for i, j in [(0, 1), (3, 17), (20, 99), (5, 5)]:
        path = [i]
        while data["parent"][path[-1]] != -1:
            path.append(data["parent"][path[-1]])
        node = j
        while node not in path:
            node = data["parent"][node]
        assert float(distances[i, j]) == data["height_of_node"][node]
    # Ultrametric: of three distances the two largest are equal.
    i, j, k = torch.randint(classes, (3, 2000), generator=torch.Generator().manual_seed(0))
    sides = torch.stack([distances[i, j], distances[j, k], distances[i, k]]).sort(0).values
    assert torch.equal(sides[1], sides[2])


def test_levels() -> None:
    tree = Hierarchy.from_categories(
        [("husky", "dog", "animal"), ("tabby", "cat", "animal"), ("pug", "dog", "animal"), ("rock",)]
    )
    assert [tree.node_names[node] for node in tree.level(0).tolist()] == ["root"] * 4
    assert [tree.node_names[node] for node in tree.level(1).tolist()] == ["animal", "animal", "animal", "rock"]
    assert [tree.node_names[node] for node in tree.level(2).tolist()] == ["dog", "cat", "dog", "rock"]
    assert tree.level(3).tolist() == [0, 1, 2, 3]
    with pytest.raises(ValueError, match=r"depth must be in 0\.\.3, got 4"):
        tree.level(4)
    assert [tree.node_names[node] for node in tree.ancestors(0)] == ["dog", "animal", "root"]
    assert tree.ancestors(tree.root) == ()
    with pytest.raises(ValueError, match=r"node is 99, outside 0\.\.7"):
        tree.ancestors(99)


def test_one_name_in_two_branches_is_two_categories() -> None:
    tree = Hierarchy.from_categories([("a", "small", "cars"), ("b", "small", "birds"), ("c", "small", "cars")])
    assert tree.distances()[0].tolist() == [0.0, 3.0, 1.0]
    assert tree.node_names.count("small") == 2


def test_single_child_chains_keep_their_place() -> None:
    tree = Hierarchy.from_parents([2, 4, 3, 4, 5, -1], ["a", "b", "x", "y", "r", "top"])
    assert tree.heights == (0.0, 0.0, 1.0, 2.0, 3.0, 4.0)
    assert tree.distances().tolist() == [[0.0, 3.0], [3.0, 0.0]]
    tree = Hierarchy.from_parents([2, 4, 3, 4, -1], ["a", "b", "x", "y", "r"], heights=[0, 0, None, None, 6])
    assert tree.heights == (0.0, 0.0, 2.0, 4.0, 6.0)
    with pytest.raises(ValueError, match="'r' has 2 children, so its height cannot be None"):
        Hierarchy.from_parents([2, 2, -1], ["a", "b", "r"], heights=[0, 0, None])


def test_unnamed_inner_nodes_get_a_name_and_unnamed_classes_are_refused() -> None:
    assert Hierarchy.from_parents([-1, 0, 0], ["", "a", "b"]).node_names == ("a", "b", "#2")
    with pytest.raises(ValueError, match=r"node_names\[0\] is empty: every class needs a name"):
        Hierarchy.from_parents([-1, 0, 0], ["r", "", "b"])


def test_leaves_anywhere_are_put_first_in_class_order() -> None:
    tree = Hierarchy.from_parents([1, -1, 1, 4, 1], ["c", "r", "a", "b", "x"], classes=["a", "b", "c"])
    assert tree.node_names == ("a", "b", "c", "r", "x")
    assert tree.distances()[0].tolist() == [0.0, 2.0, 2.0]


@pytest.mark.parametrize(
    ("parents", "names", "message"),
    [
        ([-1, 2, 3, 1], "rabc", r"has a cycle: .* -> .* -> .* -> "),
        ([1, 0], "ab", "no root"),
        ([-1, -1, 0, 1], "rsab", r"2 roots \('r', 's'\)"),
        ([-1, 7], "ra", r"parents\[1\] is 7, not a node"),
        ([-1, -3], "ra", r"parents\[1\] is -3, not a node"),
        ([-1, 1], "ra", "has a cycle: a -> a$"),
        ([-1, 0, 0], "raa", "class 'a' occurs more than once"),
        ([], "", "parents is empty"),
        ([-1, 0], "r", "node_names has 1 entries, parents has 2"),
    ],
)
def test_refuses_what_is_no_tree(parents: list[int], names: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Hierarchy.from_parents(parents, list(names))


def test_refuses_classes_that_do_not_match() -> None:
    parents, names = [-1, 0, 0], ["r", "a", "b"]
    with pytest.raises(ValueError, match=r"classes\[1\] is 'c', not a leaf"):
        Hierarchy.from_parents(parents, names, classes=["a", "c"])
    with pytest.raises(ValueError, match="classes has no 'b', a leaf"):
        Hierarchy.from_parents(parents, names, classes=["a"])
    with pytest.raises(ValueError, match="'a' occurs more than once"):
        Hierarchy.from_parents(parents, names, classes=["a", "a", "b"])


def test_refuses_a_cycle_whatever_the_heights() -> None:
    with pytest.raises(ValueError, match=r"has a cycle: (x -> y -> x|y -> x -> y)$"):
        Hierarchy(("r", "x", "y"), (-1, 2, 1), heights=(0, 1, 2))


def test_refuses_heights_that_do_not_grow() -> None:
    with pytest.raises(ValueError, match=r"heights\[2\] \('r'\) is 0.0, not above its child 'a'"):
        Hierarchy.from_parents([2, 2, -1], ["a", "b", "r"], heights=[0, 0, 0])
    with pytest.raises(ValueError, match="'a' is a class, of height 0"):
        Hierarchy.from_parents([2, 2, -1], ["a", "b", "r"], heights=[1, 0, 2])
    with pytest.raises(ValueError, match="heights has 2 entries, parents has 3"):
        Hierarchy.from_parents([2, 2, -1], ["a", "b", "r"], heights=[0, 0])


def test_refuses_rows_that_name_no_class_or_one_twice() -> None:
    with pytest.raises(ValueError, match=r"rows\[1\] must be \(class, category, \.\.\.\), got \(\)"):
        Hierarchy.from_categories([("a", "x"), ()])
    with pytest.raises(ValueError, match=r"rows\[0\] must be"):
        Hierarchy.from_categories(["abc"])
    with pytest.raises(ValueError, match="'a' occurs more than once"):
        Hierarchy.from_categories([("a", "b"), ("a", "c")])


def test_refuses_json_that_is_no_hierarchy(tmp_path: Path) -> None:
    path = tmp_path / "tree.json"
    path.write_text("{")
    with pytest.raises(ValueError, match=r"tree\.json is not JSON"):
        Hierarchy.from_json(path)
    path.write_text('{"classes": []}')
    with pytest.raises(ValueError, match=r"tree\.json has no 'node_names'"):
        Hierarchy.from_json(path)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be"])
def test_json_is_read_in_any_encoding_that_it_may_have(tmp_path: Path, encoding: str) -> None:
    layout = {"classes": ["ä", "b"], "node_names": ["ä", "b", "r"], "parent": [2, 2, -1]}
    (tmp_path / "tree.json").write_text(json.dumps(layout, ensure_ascii=False), encoding=encoding)
    assert Hierarchy.from_json(tmp_path / "tree.json") == Hierarchy.from_json(layout)


def test_a_very_deep_tree_needs_no_recursion() -> None:
    depth = 5000
    tree = Hierarchy.from_parents([-1, *range(depth), 0], [f"n{i}" for i in range(depth + 2)])
    assert tree.distances().tolist() == [[0.0, float(depth)], [float(depth), 0.0]]
    assert len(tree.render().splitlines()) == depth + 2
