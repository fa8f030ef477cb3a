"""Class hierarchies: trees whose leaves are the classes, and the distances they give.

The hierarchical distance of two classes is the height of their lowest common ancestor (LCA), 0 to itself (Bertinetto
et al., "Making better mistakes", CVPR 2020, section 3). Heights grow strictly towards the root, so these distances are
ultrametric.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from ncbench.geometry.parent_lists import (
    check_heights,
    check_parents,
    children_first,
    completed_heights,
    leaves_in_order,
    longest_paths,
    tree_of_rows,
)


@dataclass(frozen=True, eq=True)
class Hierarchy:
    """A tree over K classes; the first K nodes are its leaves, in class order.

    Plain data, checked when it is made. Usually built by `from_parents`, `from_categories` or `from_json`.

    Args:
        node_names: a name a node; leaves' names are the class names and unique, other names may repeat. An empty name
            of an inner node becomes `#<index>`.
        parents: index of each node's parent, -1 for the root. Nodes 0..K-1 are the leaves.
        heights: height of each node, 0 at leaves and strictly larger than its children's elsewhere; when empty, the
            longest path down to a leaf.
        name: what the hierarchy is called, for people.

    Raises:
        ValueError: naming the node: a cycle, several roots or none, a parent that does not exist, an unnamed or
            repeated class, leaves that are not the first nodes, heights that do not grow towards the root.

    >>> pets = Hierarchy.from_categories([("dog", "animal"), ("cat", "animal"), ("car", "thing")])
    >>> pets.distances().tolist()
    [[0.0, 1.0, 2.0], [1.0, 0.0, 2.0], [2.0, 2.0, 0.0]]
    >>> print(pets)
    root (height 2, 3 classes)
    ├── animal (height 1, 2 classes)
    │   ├── dog
    │   └── cat
    └── thing (height 1, 1 class)
        └── car
    """

    node_names: tuple[str, ...]
    parents: tuple[int, ...]
    heights: tuple[float, ...] = ()
    name: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        names = tuple(label or f"#{node}" for node, label in enumerate(self.node_names))
        check_parents(self.parents, names)
        inner = set(self.parents)
        for node in range(self.num_classes):
            if node in inner:
                raise ValueError(
                    f"parents: node {node} ({names[node]!r}) has children, but the first {self.num_classes} nodes must "
                    "be the leaves; Hierarchy.from_parents orders them"
                )
            if not self.node_names[node]:
                raise ValueError(f"node_names[{node}] is empty: every class needs a name")
        label, count = Counter(names[: self.num_classes]).most_common(1)[0]
        if count > 1:
            raise ValueError(f"node_names: class {label!r} occurs more than once")
        object.__setattr__(self, "node_names", names)
        order = self.children_first  # refuses cycles
        heights = self.heights or longest_paths(self.parents, order)
        check_heights(self.parents, heights, names)
        object.__setattr__(self, "heights", tuple(map(float, heights)))

    @classmethod
    def from_parents(
        cls,
        parents: Sequence[int],
        node_names: Sequence[str],
        heights: Sequence[float | None] = (),
        classes: Sequence[str] | None = None,
        name: str = "",
    ) -> Hierarchy:
        """From each node's parent, nodes in any order.

        Args:
            parents: index of each node's parent, -1 for the root.
            node_names: a name a node; empty names are allowed for inner nodes.
            heights: a height a node; the longest path down to a leaf when empty. A node with a single child is never a
                lowest common ancestor: its height may be None, and is then put evenly between its neighbours'.
            classes: the class names in the order wanted; the leaves in node order when None.
            name: what the hierarchy is called.

        Raises:
            ValueError: as the class says, and when classes are not exactly the leaves.

        >>> Hierarchy.from_parents([-1, 0, 0], ["root", "b", "a"], classes=["a", "b"]).classes
        ('a', 'b')
        """
        check_parents(parents, node_names)
        if heights and len(heights) != len(parents):
            raise ValueError(f"heights has {len(heights)} entries, parents has {len(parents)}")
        inner = set(parents)
        leaves = [node for node in range(len(parents)) if node not in inner]
        if classes is not None:
            leaves = leaves_in_order(leaves, node_names, classes)
        order = leaves + [node for node in range(len(parents)) if node in inner]
        place = {old: new for new, old in enumerate(order)} | {-1: -1}
        ordered = tuple(place[parents[old]] for old in order)
        names = tuple(node_names[old] for old in order)
        completed = completed_heights(ordered, [heights[old] for old in order], names) if heights else ()
        return cls(names, ordered, completed, name)

    @classmethod
    def from_categories(cls, rows: Iterable[Sequence[str]], name: str = "", root: str = "root") -> Hierarchy:
        """From one row a class: the class name, then its category, that category's category, and so on up.

        A category is told by the whole path above it, so one name may stand for different categories in different
        branches. Rows of different length hang at different depths; `root` joins the top categories.

        Args:
            rows: (class, category, ..., top category) a class, in class order.
            name: what the hierarchy is called.
            root: name of the node above the top categories.

        Raises:
            ValueError: on an empty row, an unnamed or repeated class.

        >>> Hierarchy.from_categories([("737-300", "737", "Boeing"), ("A320", "A320", "Airbus")]).node_names
        ('737-300', 'A320', 'root', 'Boeing', '737', 'Airbus', 'A320')
        """
        return cls(*tree_of_rows(rows, root), name=name)

    @classmethod
    def from_json(cls, source: Path | str | Mapping[str, Any]) -> Hierarchy:
        """From the JSON layout {name, classes, node_names, parent, height_of_node}.

        Args:
            source: a path to a JSON file, or the object already read.

        Raises:
            ValueError: when a key is missing, or the tree is not one; OSError when the file cannot be read.

        >>> Hierarchy.from_json({"classes": ["a", "b"], "node_names": ["a", "b", "r"], "parent": [2, 2, -1]}).height
        1.0
        """
        if isinstance(source, Mapping):
            where, data = "the hierarchy", source
        else:
            where = str(source)
            try:
                data = json.loads(Path(source).read_bytes())  # which may be in UTF-16, and begin with a mark
            except ValueError as error:
                raise ValueError(f"{where} is not JSON: {error}") from error
        for key in ("classes", "node_names", "parent"):
            if key not in data:
                raise ValueError(f"{where} has no {key!r}; it needs classes, node_names and parent")
        return cls.from_parents(
            data["parent"],
            data["node_names"],
            heights=data.get("height_of_node", ()),
            classes=data["classes"],
            name=data.get("name", ""),
        )

    @property
    def num_nodes(self) -> int:
        """Number of nodes, leaves included."""
        return len(self.parents)

    @cached_property
    def num_classes(self) -> int:
        """K, the number of leaves."""
        return self.num_nodes - len(set(self.parents) - {-1})

    @property
    def classes(self) -> tuple[str, ...]:
        """The class names, in class order."""
        return self.node_names[: self.num_classes]

    @cached_property
    def root(self) -> int:
        """Index of the root."""
        return self.parents.index(-1)

    @property
    def height(self) -> float:
        """Height of the root."""
        return self.heights[self.root]

    @cached_property
    def children(self) -> tuple[tuple[int, ...], ...]:
        """For every node the indices of its children, in node order."""
        lists: list[list[int]] = [[] for _ in self.parents]
        for node, parent in enumerate(self.parents):
            if parent != -1:
                lists[parent].append(node)
        return tuple(tuple(nodes) for nodes in lists)

    @cached_property
    def depths(self) -> tuple[int, ...]:
        """For every node the number of edges to the root."""
        depths = [0] * self.num_nodes
        for node in reversed(self.children_first):
            if self.parents[node] != -1:
                depths[node] = depths[self.parents[node]] + 1
        return tuple(depths)

    @cached_property
    def children_first(self) -> tuple[int, ...]:
        """All nodes, each after its children; the root is last."""
        return children_first(self.parents, self.node_names)

    def ancestors(self, node: int) -> tuple[int, ...]:
        """The nodes above one, from its parent to the root.

        >>> Hierarchy.from_categories([("cat", "pet", "animal"), ("dog", "pet", "animal")]).ancestors(0)
        (4, 3, 2)
        """
        if not 0 <= node < self.num_nodes:
            raise ValueError(f"node is {node}, outside 0..{self.num_nodes - 1}")
        path = []
        while (node := self.parents[node]) != -1:
            path.append(node)
        return tuple(path)

    def level(self, depth: int) -> torch.Tensor:
        """The group of every class at one depth: its ancestor that many edges below the root.

        Depth 0 puts all classes in the root; a class that ends above the depth stands for itself. Indexing targets
        and predictions by it gives per-level accuracy.

        Args:
            depth: 0 to the depth of the deepest class.

        Returns:
            (K,) int64 node indices.

        >>> Hierarchy.from_categories([("dog", "animal"), ("car", "thing"), ("cat", "animal")]).level(1).tolist()
        [4, 5, 4]
        """
        deepest = max(self.depths[: self.num_classes])
        if not 0 <= depth <= deepest:
            raise ValueError(f"depth must be in 0..{deepest}, got {depth}")
        group = list(range(self.num_nodes))
        for node in reversed(self.children_first):
            if self.depths[node] > depth:
                group[node] = group[self.parents[node]]
        return torch.tensor(group[: self.num_classes])

    def distances(self, dtype: torch.dtype | None = None) -> torch.Tensor:
        """Heights of the lowest common ancestors of all pairs of classes.

        Classes are laid out so that every subtree is one run; each inner node then fills one square block, from the
        root down. No loop over pairs, and no memory besides the result and one copy.

        Args:
            dtype: of the result; torch's default dtype when None.

        Returns:
            (K, K) symmetric, zero on the diagonal.
        """
        order, begin, end = self._layout
        matrix = torch.zeros(self.num_classes, self.num_classes, dtype=dtype or torch.get_default_dtype())
        for node in reversed(self.children_first):  # parents first: a child's block overwrites part of its parent's
            matrix[begin[node] : end[node], begin[node] : end[node]] = self.heights[node]
        place = torch.tensor(order).argsort()
        if bool((place[1:] > place[:-1]).all()):
            return matrix
        return matrix[place][:, place]

    def render(self, max_children: int = 12) -> str:
        """The tree as indented text, at most so many children a node.

        Args:
            max_children: children shown a node; the rest is counted.

        >>> print(Hierarchy.from_categories([(c,) for c in "abcd"], root="letters").render(max_children=2))
        letters (height 1, 4 classes)
        ├── a
        ├── b
        └── … 2 more
        """
        if max_children < 1:
            raise ValueError(f"max_children must be at least 1, got {max_children}")
        _, begin, end = self._layout
        lines = []
        stack: list[tuple[int, str, str]] = [(self.root, "", "")]  # a node, what is before it and before those below
        while stack:
            node, before, indent = stack.pop()
            if node == -1:
                lines.append(before)
                continue
            count = end[node] - begin[node]
            told = f" (height {self.heights[node]:g}, {count} class{'es' if count > 1 else ''})"
            lines.append(before + self.node_names[node] + (told if self.children[node] else ""))
            below = [(child, f"{indent}├── ", f"{indent}│   ") for child in self.children[node]]
            if len(below) > max_children:
                below[max_children:] = [(-1, f"{indent}└── … {len(below) - max_children} more", "")]
            elif below:
                below[-1] = (below[-1][0], f"{indent}└── ", f"{indent}    ")
            stack += reversed(below)
        return "\n".join(lines)

    def __str__(self) -> str:
        return self.render()

    def __repr__(self) -> str:
        label = f"{self.name!r}, " if self.name else ""
        return f"Hierarchy({label}{self.num_classes} classes, {self.num_nodes} nodes, height {self.height:g})"

    @cached_property
    def _layout(self) -> tuple[list[int], list[int], list[int]]:
        """The classes depth first, so that those under one node are a run; where each node's run begins and ends."""
        order: list[int] = []
        begin, end = [0] * self.num_nodes, [0] * self.num_nodes
        stack = [self.root]
        while stack:
            node = stack.pop()
            if node < 0:  # the second time, with all below it done
                end[~node] = len(order)
                continue
            begin[node] = len(order)
            if node < self.num_classes:
                order.append(node)
            stack += [~node, *reversed(self.children[node])]
        return order, begin, end
