"""Class hierarchies: trees whose leaves are the classes, and the distances they give.

The hierarchical distance of two classes is the height of their lowest common ancestor (LCA), 0 to itself (Bertinetto
et al., "Making better mistakes", CVPR 2020, section 3). Heights grow strictly towards the root, so these distances are
ultrametric.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

import torch


@dataclass(frozen=True, eq=True)
class Hierarchy:
    """A tree over K classes; the first K nodes are its leaves, in class order.

    Plain data, checked when it is made. Usually built by `from_parents`, `from_categories`, `from_directories`,
    `from_is_a` or `from_json`.

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
        n = len(self.parents)
        if n == 0:
            raise ValueError("parents is empty: a hierarchy needs at least one class")
        if len(self.node_names) != n:
            raise ValueError(f"node_names has {len(self.node_names)} entries, parents has {n}")
        names = tuple(label or f"#{node}" for node, label in enumerate(self.node_names))
        _check_parents(self.parents, names)
        inner = set(self.parents) - {-1}
        num_classes = n - len(inner)
        for node in range(num_classes):
            if node in inner:
                raise ValueError(
                    f"parents: node {node} ({names[node]!r}) has children, but the first {num_classes} nodes must be "
                    "the leaves; Hierarchy.from_parents orders them"
                )
            if not self.node_names[node]:
                raise ValueError(f"node_names[{node}] is empty: every class needs a name")
        repeated = [label for label, count in Counter(names[:num_classes]).items() if count > 1]
        if repeated:
            raise ValueError(f"node_names: class {repeated[0]!r} occurs more than once")
        object.__setattr__(self, "node_names", names)
        order = _children_first(self.parents, names)
        object.__setattr__(self, "heights", _checked_heights(self.parents, self.heights, names, order))

    # ---------------------------------------------------------------- making one

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
        n = len(parents)
        if len(node_names) != n:
            raise ValueError(f"node_names has {len(node_names)} entries, parents has {n}")
        if heights and len(heights) != n:
            raise ValueError(f"heights has {len(heights)} entries, parents has {n}")
        inner = {parent for parent in parents if parent != -1}
        leaves = [node for node in range(n) if node not in inner]
        if classes is not None:
            leaves = _in_class_order(leaves, node_names, classes)
        order = leaves + [node for node in range(n) if node in inner]
        place = {old: new for new, old in enumerate(order)}
        for node, parent in enumerate(parents):
            if parent != -1 and parent not in place:
                raise ValueError(f"parents[{node}] is {parent}, not a node (0..{n - 1}, or -1 for the root)")
        ordered = tuple(-1 if parents[old] == -1 else place[parents[old]] for old in order)
        names = tuple(node_names[old] for old in order)
        return cls(
            node_names=names,
            parents=ordered,
            heights=_completed_heights(ordered, [heights[old] for old in order], names) if heights else (),
            name=name,
        )

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
        paths = []
        for number, row in enumerate(rows):
            if isinstance(row, str) or len(row) == 0:
                raise ValueError(f"rows[{number}] must be (class, category, ...), got {row!r}")
            paths.append(tuple(reversed(row)))
        return _from_paths(paths, name, root)

    @classmethod
    def from_directories(cls, directories: Iterable[str | Path], name: str = "", root: str = "root") -> Hierarchy:
        """From the folders of a data set, each class one path such as `animals/dogs/husky`.

        Args:
            directories: relative paths with forward slashes (or Path objects), in class order. The class is named by
                its whole path, so equal folder names in different branches stay apart.
            name: what the hierarchy is called.
            root: name of the node above the top folders.

        Raises:
            ValueError: on an empty or absolute path, on `..`, and on a class given twice.

        >>> Hierarchy.from_directories(["bird/owl", "bird/gull", "ship/barge"]).classes
        ('bird/owl', 'bird/gull', 'ship/barge')
        """
        paths = []
        for number, directory in enumerate(directories):
            path = PurePosixPath(directory.as_posix() if isinstance(directory, Path) else directory)
            if path.is_absolute() or not path.parts or ".." in path.parts:
                raise ValueError(
                    f"directories[{number}] must be a relative path inside the data, got {str(directory)!r}"
                )
            paths.append((*path.parts[:-1], str(path)))
        return _from_paths(paths, name, root)

    @classmethod
    def from_is_a(
        cls, relations: Iterable[tuple[str, str]], classes: Sequence[str] | None = None, name: str = ""
    ) -> Hierarchy:
        """From `is a` relations such as WordNet's lists: pairs (child, parent) of names.

        Args:
            relations: (child, parent); a pair given twice counts once.
            classes: the classes, in order; with it, branches that hold none of them are dropped, and a class that has
                children of its own is refused. When None, every leaf is a class, in order of first mention.
            name: what the hierarchy is called.

        Raises:
            ValueError: on an empty name, a child with two parents (the structure is then no tree), a cycle, several
                roots, and classes that are not leaves.

        >>> Hierarchy.from_is_a([("cat", "pet"), ("dog", "pet"), ("pet", "animal")]).heights
        (0.0, 0.0, 1.0, 2.0)
        """
        parent_of: dict[str, str] = {}
        names: dict[str, None] = {}  # in order of first mention
        for number, (child, parent) in enumerate(relations):
            if not child or not parent:
                raise ValueError(f"relations[{number}] has an empty name: {(child, parent)!r}")
            if parent_of.get(child, parent) != parent:
                raise ValueError(
                    f"relations[{number}]: {child!r} is a {parent!r}, but also a {parent_of[child]!r}; "
                    "a node of a tree has one parent"
                )
            parent_of[child] = parent
            names[child] = names[parent] = None
        if not names:
            raise ValueError("relations is empty")
        if classes is not None:
            names = _with_ancestors(classes, parent_of, names)
        index = {label: node for node, label in enumerate(names)}
        parents = [index[parent_of[label]] if label in parent_of else -1 for label in names]
        return cls.from_parents(parents, list(names), classes=classes, name=name)

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
        where = "the hierarchy" if isinstance(source, Mapping) else str(source)
        if isinstance(source, Mapping):
            data: Mapping[str, Any] = source
        else:
            try:
                data = json.loads(Path(source).read_text(encoding="utf-8"))
            except json.JSONDecodeError as error:
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

    def to_json(self) -> dict[str, Any]:
        """The JSON layout that `from_json` reads, as plain lists, strings and numbers.

        >>> sorted(Hierarchy.from_is_a([("a", "r"), ("b", "r")]).to_json())
        ['classes', 'height', 'height_of_node', 'name', 'node_names', 'parent']
        """
        return {
            "name": self.name,
            "classes": list(self.classes),
            "node_names": list(self.node_names),
            "parent": list(self.parents),
            "height": self.height,
            "height_of_node": list(self.heights),
        }

    # ---------------------------------------------------------------- looking at it

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
        """All nodes in an order that visits every node after its children; the root is last."""
        return _children_first(self.parents, self.node_names)

    def index(self, node_name: str) -> int:
        """The node of that name.

        Raises:
            ValueError: when there is none, or more than one.
        """
        nodes = [node for node, label in enumerate(self.node_names) if label == node_name]
        if len(nodes) != 1:
            raise ValueError(f"node_name {node_name!r} names {len(nodes)} nodes")
        return nodes[0]

    def ancestors(self, node: int) -> tuple[int, ...]:
        """The nodes above one, from its parent to the root.

        >>> Hierarchy.from_is_a([("cat", "pet"), ("dog", "pet"), ("pet", "animal")]).ancestors(0)
        (2, 3)
        """
        self._check_node(node)
        path = []
        while (node := self.parents[node]) != -1:
            path.append(node)
        return tuple(path)

    def leaves(self, node: int) -> tuple[int, ...]:
        """The classes under a node, in class order; the class itself for a leaf.

        >>> Hierarchy.from_categories([("dog", "animal"), ("car", "thing"), ("cat", "animal")]).leaves(4)
        (0, 2)
        """
        self._check_node(node)
        low, high = self._spans[node]
        return tuple(sorted(self._leaf_order[low:high]))

    def subtree(self, node: int) -> Hierarchy:
        """The hierarchy below one node, with the heights it has here.

        >>> Hierarchy.from_categories([("dog", "animal"), ("car", "thing"), ("cat", "animal")]).subtree(4).classes
        ('dog', 'cat')
        """
        self._check_node(node)
        kept = {node}
        for other in reversed(self.children_first):
            if self.parents[other] in kept:
                kept.add(other)
        order = sorted(kept)
        place = {old: new for new, old in enumerate(order)}
        return Hierarchy(
            node_names=tuple(self.node_names[old] for old in order),
            parents=tuple(-1 if old == node else place[self.parents[old]] for old in order),
            heights=tuple(self.heights[old] for old in order),
            name=self.node_names[node],
        )

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
        matrix = torch.zeros(self.num_classes, self.num_classes, dtype=dtype or torch.get_default_dtype())
        for node in reversed(self.children_first):  # parents first: a child's block overwrites part of its parent's
            low, high = self._spans[node]
            matrix[low:high, low:high] = self.heights[node]
        place = torch.empty(self.num_classes, dtype=torch.int64)
        place[torch.tensor(self._leaf_order)] = torch.arange(self.num_classes)
        if bool((place[1:] > place[:-1]).all()):
            return matrix
        return matrix[place][:, place]

    def render(self, max_children: int = 12) -> str:
        """The tree as indented text, at most so many children a node.

        Args:
            max_children: children shown a node; the rest is counted.

        >>> print(Hierarchy.from_is_a([(c, "letters") for c in "abcd"]).render(max_children=2))
        letters (height 1, 4 classes)
        ├── a
        ├── b
        └── … 2 more
        """
        if max_children < 1:
            raise ValueError(f"max_children must be at least 1, got {max_children}")
        lines = [self._title(self.root)]
        stack = self._entries(self.root, "", max_children)
        while stack:
            line, node, indent = stack.pop()
            lines.append(line)
            if node is not None:
                stack.extend(self._entries(node, indent, max_children))
        return "\n".join(lines)

    def __str__(self) -> str:
        return self.render()

    def __repr__(self) -> str:
        label = f"{self.name!r}, " if self.name else ""
        return f"Hierarchy({label}{self.num_classes} classes, {self.num_nodes} nodes, height {self.height:g})"

    def _entries(self, node: int, indent: str, max_children: int) -> list[tuple[str, int | None, str]]:
        """The lines of a node's children, last first: (line, the child to open below it, its indent)."""
        children = self.children[node]
        shown = children[:max_children]
        rest = len(children) - len(shown)
        entries: list[tuple[str, int | None, str]] = []
        for child in shown:
            last = child == children[-1]
            line = f"{indent}{'└' if last else '├'}── {self._title(child)}"
            entries.append((line, child, indent + ("    " if last else "│   ")))
        if rest:
            entries.append((f"{indent}└── … {rest} more", None, indent))
        return entries[::-1]

    def _title(self, node: int) -> str:
        if node < self.num_classes:
            return self.node_names[node]
        low, high = self._spans[node]
        count = high - low
        return f"{self.node_names[node]} (height {self.heights[node]:g}, {count} class{'es' if count > 1 else ''})"

    @cached_property
    def _spans(self) -> tuple[tuple[int, int], ...]:
        """For every node the run [low, high) its classes occupy in `_leaf_order`."""
        spans = [(0, 0)] * self.num_nodes
        place = {leaf: at for at, leaf in enumerate(self._leaf_order)}
        for node in self.children_first:
            if node < self.num_classes:
                spans[node] = (place[node], place[node] + 1)
            else:
                below = [spans[child] for child in self.children[node]]
                spans[node] = (min(low for low, _ in below), max(high for _, high in below))
        return tuple(spans)

    @cached_property
    def _leaf_order(self) -> tuple[int, ...]:
        """The classes in depth-first order: those under any one node are consecutive."""
        order, stack = [], [self.root]
        while stack:
            node = stack.pop()
            if node < self.num_classes:
                order.append(node)
            stack.extend(reversed(self.children[node]))
        return tuple(order)

    def _check_node(self, node: int) -> None:
        if not 0 <= node < self.num_nodes:
            raise ValueError(f"node is {node}, outside 0..{self.num_nodes - 1}")


def _from_paths(paths: Sequence[tuple[str, ...]], name: str, root: str) -> Hierarchy:
    """A hierarchy from one path a class, top category first and the class last, under a common root."""
    if not paths:
        raise ValueError("rows is empty: a hierarchy needs at least one class")
    k = len(paths)
    node_names = [path[-1] for path in paths] + [root]
    parents = [-1] * (k + 1)
    known: dict[tuple[str, ...], int] = {(): k}
    for leaf, path in enumerate(paths):
        for depth in range(1, len(path)):
            prefix = path[:depth]
            if prefix not in known:
                known[prefix] = len(node_names)
                node_names.append(prefix[-1])
                parents.append(known[prefix[:-1]])
        parents[leaf] = known[path[:-1]]
    return Hierarchy(node_names=tuple(node_names), parents=tuple(parents), name=name)


def _in_class_order(leaves: Sequence[int], node_names: Sequence[str], classes: Sequence[str]) -> list[int]:
    """The leaves in the order of `classes`, which must name exactly them."""
    leaf_of = {node_names[node]: node for node in leaves}
    if len(leaf_of) < len(leaves):
        repeated = Counter(node_names[node] for node in leaves).most_common(1)[0][0]
        raise ValueError(f"node_names: class {repeated!r} occurs more than once")
    for number, label in enumerate(classes):
        if label not in leaf_of:
            raise ValueError(f"classes[{number}] is {label!r}, not a leaf of the hierarchy")
    if len(set(classes)) < len(classes):
        raise ValueError(f"classes: {Counter(classes).most_common(1)[0][0]!r} occurs more than once")
    missing = [label for label in leaf_of if label not in set(classes)]
    if missing:
        raise ValueError(f"classes has no {missing[0]!r}, a leaf of the hierarchy")
    return [leaf_of[label] for label in classes]


def _with_ancestors(classes: Sequence[str], parent_of: Mapping[str, str], names: Mapping[str, None]) -> dict[str, None]:
    """The names of the classes and of all nodes above them, in the order of `names`."""
    kept: set[str] = set()
    for number, label in enumerate(classes):
        if label not in names:
            raise ValueError(f"classes[{number}] is {label!r}, which no relation mentions")
        while label not in kept:
            kept.add(label)
            if label not in parent_of:
                break
            label = parent_of[label]
    inner = {parent_of[label] for label in kept if label in parent_of}
    for number, label in enumerate(classes):
        if label in inner:
            raise ValueError(f"classes[{number}] is {label!r}, which other classes are below; classes must be leaves")
    return {label: None for label in names if label in kept}


def _check_parents(parents: Sequence[int], names: Sequence[str]) -> None:
    """Refuse parents that are not nodes, and anything but one root."""
    n = len(parents)
    for node, parent in enumerate(parents):
        if not -1 <= parent < n or parent == node:
            raise ValueError(f"parents[{node}] is {parent}, not another node (0..{n - 1}, or -1 for the root)")
    roots = [node for node, parent in enumerate(parents) if parent == -1]
    if not roots:
        raise ValueError("parents has no root (-1): the nodes form a cycle")
    if len(roots) > 1:
        listed = ", ".join(repr(names[node]) for node in roots[:4])
        more = f" and {len(roots) - 4} more" if len(roots) > 4 else ""
        raise ValueError(f"parents has {len(roots)} roots ({listed}{more}); put one node above them")


def _children_first(parents: Sequence[int], names: Sequence[str]) -> tuple[int, ...]:
    """All nodes, each after its children; raises for a cycle."""
    waiting = [0] * len(parents)
    for parent in parents:
        if parent != -1:
            waiting[parent] += 1
    order = [node for node, count in enumerate(waiting) if count == 0]
    for node in order:  # grows while it is read
        parent = parents[node]
        if parent != -1:
            waiting[parent] -= 1
            if waiting[parent] == 0:
                order.append(parent)
    if len(order) < len(parents):
        node = start = next(node for node, count in enumerate(waiting) if count > 0)
        for _ in parents:  # walking up from any node left over ends in the cycle
            start = parents[start]
        cycle, node = [names[start]], parents[start]
        while node != start:
            cycle.append(names[node])
            node = parents[node]
        raise ValueError(f"parents has a cycle: {' -> '.join([*cycle, names[start]][:8])}")
    return tuple(order)


def _completed_heights(
    parents: Sequence[int], heights: Sequence[float | None], names: Sequence[str]
) -> tuple[float, ...]:
    """The heights, with those of single-child nodes that are None spread evenly over their chain."""
    children = Counter(parents)
    for node, height in enumerate(heights):
        if height is None and children[node] != 1:
            raise ValueError(f"heights: {names[node]!r} has {children[node]} children, so its height cannot be None")
    completed = list(heights)
    for node, height in enumerate(heights):
        if height is None:
            continue
        chain, above = [], parents[node]
        while above != -1 and heights[above] is None:  # ends: a chain that closed on itself would have a fork
            chain.append(above)
            above = parents[above]
        upper = heights[above] if above != -1 else None
        step = 1.0 if upper is None else (upper - height) / (len(chain) + 1)
        for number, member in enumerate(chain, start=1):
            completed[member] = height + number * step
    return tuple(math.nan if height is None else float(height) for height in completed)


def _checked_heights(
    parents: Sequence[int], heights: Sequence[float], names: Sequence[str], order: Sequence[int]
) -> tuple[float, ...]:
    """The heights, or the longest paths down when there are none; raises unless they grow strictly upwards."""
    n = len(parents)
    if not heights:
        longest = [0.0] * n
        for node in order:
            if parents[node] != -1:
                longest[parents[node]] = max(longest[parents[node]], longest[node] + 1)
        return tuple(longest)
    if len(heights) != n:
        raise ValueError(f"heights has {len(heights)} entries, parents has {n}")
    inner = set(parents)
    for node, height in enumerate(heights):
        if not math.isfinite(height):
            raise ValueError(f"heights[{node}] ({names[node]!r}) is {height}, not finite")
        if node not in inner and height != 0:
            raise ValueError(f"heights[{node}] is {height}, but {names[node]!r} is a class, of height 0")
        parent = parents[node]
        if parent != -1 and not heights[parent] > height:
            raise ValueError(
                f"heights[{parent}] ({names[parent]!r}) is {heights[parent]}, not above its child "
                f"{names[node]!r} at {height}"
            )
    return tuple(float(height) for height in heights)
