"""Leaves of a graph, watched: who asks is told of a gradient as soon as it is complete."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from portagrad.recipe import Recipe
from portagrad.transforms.reverse import Node


def first_uses(root: Node, leaves: Sequence[Node]) -> list[tuple[int, list[Node]]]:
    """Of each leaf the index of the first node that uses it, which the way back meets last, and all that do.

    The index of a leaf on which `root` does not depend is -1.
    """
    wanted = {leaf: place for place, leaf in enumerate(leaves)}
    found: list[tuple[int, list[Node]]] = [(-1, []) for _ in leaves]
    seen, stack = {root}, [root]
    while stack:
        node = stack.pop()
        for parent in set(node.parents):
            place = wanted.get(parent)
            if place is not None:
                first, users = found[place]
                found[place] = (node.index if first < 0 else min(first, node.index)), [*users, node]
            elif parent not in seen:
                seen.add(parent)
                stack.append(parent)
    return found


def watch(
    leaves: Sequence[Node], uses: Sequence[tuple[int, list[Node]]], tell: Callable[[int, Any], None]
) -> None:
    """Have `tell` called with a leaf's place and gradient when the way back has made all of it.

    Nodes are visited by falling index, so a node just below the first use of a leaf is visited when nothing
    more can come; it takes the leaf's place with those that use it, and passes the gradient on.
    """
    for place, (leaf, (first, users)) in enumerate(zip(leaves, uses, strict=True)):
        if not users:
            continue

        def run(g: Any, saved: Any, params: Any, xp: Any) -> Any:
            tell(saved, g)
            return (g,)

        gate = Node(
            Recipe("a watched leaf", _saves_nothing, run),
            (leaf,),
            place,
            None,
            None,
            leaf.shape,
            leaf.dtype,
            leaf.kind,
        )
        gate.index = first - (place + 1) / (len(leaves) + 1)  # type: ignore[assignment]  # below it, and apart
        for node in users:
            node.parents = [gate if parent is leaf else parent for parent in node.parents]


def _saves_nothing(values: Any, y: Any, nodes: Any) -> Any:
    return ()
