"""Trees as lists: the parent of every node, -1 for the root, read off what data sets come with, and checked."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence

Tree = tuple[tuple[str, ...], tuple[int, ...]]
"""Node names and parents."""


def tree_of_rows(rows: Iterable[Sequence[str]], root: str) -> Tree:
    """From (class, category, ..., top category), a row a class; `root` joins the top categories."""
    paths = []
    for number, row in enumerate(rows):
        if isinstance(row, str) or len(row) == 0:
            raise ValueError(f"rows[{number}] must be (class, category, ...), got {row!r}")
        paths.append(tuple(reversed(row)))
    if not paths:
        raise ValueError("rows is empty: a hierarchy needs at least one class")
    k = len(paths)
    node_names = [path[-1] for path in paths] + [root]
    parents = [-1] * (k + 1)
    known: dict[tuple[str, ...], int] = {(): k}  # a category is told by the whole path to it
    for leaf, path in enumerate(paths):
        for depth in range(1, len(path)):
            prefix = path[:depth]
            if prefix not in known:
                known[prefix] = len(node_names)
                node_names.append(prefix[-1])
                parents.append(known[prefix[:-1]])
        parents[leaf] = known[path[:-1]]
    return tuple(node_names), tuple(parents)


def leaves_in_order(leaves: Sequence[int], node_names: Sequence[str], classes: Sequence[str]) -> list[int]:
    """The leaves in the order of `classes`, which must name exactly them."""
    leaf_of = {node_names[node]: node for node in leaves}
    for what, labels in (("node_names: class", [node_names[node] for node in leaves]), ("classes:", classes)):
        label, count = Counter(labels).most_common(1)[0] if labels else ("", 0)
        if count > 1:
            raise ValueError(f"{what} {label!r} occurs more than once")
    for number, label in enumerate(classes):
        if label not in leaf_of:
            raise ValueError(f"classes[{number}] is {label!r}, not a leaf of the hierarchy")
    if missing := [label for label in leaf_of if label not in set(classes)]:
        raise ValueError(f"classes has no {missing[0]!r}, a leaf of the hierarchy")
    return [leaf_of[label] for label in classes]


def check_parents(parents: Sequence[int], names: Sequence[str]) -> None:
    """Refuse a name too few or too many, parents that are not nodes, and anything but one root."""
    n = len(parents)
    if n == 0:
        raise ValueError("parents is empty: a hierarchy needs at least one class")
    if len(names) != n:
        raise ValueError(f"node_names has {len(names)} entries, parents has {n}")
    for node, parent in enumerate(parents):
        if parent not in range(-1, n):
            raise ValueError(f"parents[{node}] is {parent}, not a node (0..{n - 1}, or -1 for the root)")
    roots = [names[node] for node, parent in enumerate(parents) if parent == -1]
    if not roots:
        raise ValueError("parents has no root (-1): the nodes form a cycle")
    if len(roots) > 1:
        more = f" and {len(roots) - 4} more" if len(roots) > 4 else ""
        raise ValueError(
            f"parents has {len(roots)} roots ({', '.join(map(repr, roots[:4]))}{more}); put one node above them"
        )


def children_first(parents: Sequence[int], names: Sequence[str]) -> tuple[int, ...]:
    """All nodes, each after its children; raises for a cycle."""
    waiting = Counter(parents)  # for so many children; of the root's "parent" nobody asks
    order = [node for node in range(len(parents)) if not waiting[node]]
    for node in order:  # grows while it is read
        parent = parents[node]
        waiting[parent] -= 1
        if parent != -1 and not waiting[parent]:
            order.append(parent)
    if len(order) < len(parents):
        node = next(node for node in range(len(parents)) if waiting[node])
        for _ in parents:  # walking up from any node left over ends in the cycle
            node = parents[node]
        cycle = [node]
        while parents[cycle[-1]] != node:
            cycle.append(parents[cycle[-1]])
        raise ValueError(f"parents has a cycle: {' -> '.join([names[node] for node in (*cycle, node)][:8])}")
    return tuple(order)


def completed_heights(
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


def longest_paths(parents: Sequence[int], order: Sequence[int]) -> tuple[float, ...]:
    """Of every node the number of edges down to its farthest leaf; `order` has children first."""
    longest = [0.0] * len(parents)
    for node in order:
        if parents[node] != -1:
            longest[parents[node]] = max(longest[parents[node]], longest[node] + 1)
    return tuple(longest)


def check_heights(parents: Sequence[int], heights: Sequence[float], names: Sequence[str]) -> None:
    """Refuse heights that are not 0 at the leaves and strictly growing towards the root."""
    if len(heights) != len(parents):
        raise ValueError(f"heights has {len(heights)} entries, parents has {len(parents)}")
    inner = set(parents)
    for node, (height, parent) in enumerate(zip(heights, parents, strict=True)):
        if not math.isfinite(height):
            raise ValueError(f"heights[{node}] ({names[node]!r}) is {height}, not finite")
        if node not in inner and height != 0:
            raise ValueError(f"heights[{node}] is {height}, but {names[node]!r} is a class, of height 0")
        if parent != -1 and not heights[parent] > height:
            raise ValueError(
                f"heights[{parent}] ({names[parent]!r}) is {heights[parent]}, not above its child "
                f"{names[node]!r} at {height}"
            )
