"""Reverse mode: back-propagation through a graph of nodes."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from contextlib import nullcontext
from heapq import heapify, heappop, heappush, heappushpop
from typing import Any

from portagrad.backend import KIND
from portagrad.errors import LeakedTraceError, note_call
from portagrad.kernel import NAMESPACE, namespace
from portagrad.op import TABLE
from portagrad.recipe import Recipe
from portagrad.tensor import Tensor, backend_of
from portagrad.trace import Traced, apply

indices = itertools.count()
"""What orders nodes: each takes the next."""


class Node:
    """One op of the graph: what its pullback needs, and where the cotangents go.

    ``index`` grows with creation, so that parents always have smaller ones. A leaf has no recipe.
    """

    __slots__ = (
        "__weakref__",
        "dtype",
        "index",
        "kind",
        "params",
        "parents",
        "recipe",
        "saved",
        "shape",
        "xp",
    )

    def __init__(
        self,
        recipe: Recipe | None,
        parents: Any,
        saved: Any,
        params: Any,
        xp: Any,
        shape: Any,
        dtype: Any,
        kind: int,
    ) -> None:
        self.recipe = recipe
        self.parents = parents
        self.saved = saved
        self.params = params
        self.xp = xp
        self.shape = shape
        self.dtype = dtype
        self.kind = kind
        self.index = next(indices)


def leaf(value: Any) -> Node:
    """A node where derivatives end."""
    return Node(None, (), None, None, None, value.shape, value.dtype, KIND[value.dtype])


class _Parts(list[Any]):
    """Cotangents of the several outputs of one op, None where nothing arrived."""

    shape = dtype = None

    def __add__(self, other: Any) -> _Parts:
        pairs = zip(self, other, strict=True)
        return _Parts(b if a is None else a if b is None else _sum(a, b) for a, b in pairs)


def _pick(g: Any, saved: Any, params: Any, xp: Any) -> Any:
    """Cotangent of one output, in its place among the others."""
    parts = _Parts([None] * saved[1])
    parts[saved[0]] = g
    return (parts,)


def _freed(g: Any, saved: Any, params: Any, xp: Any) -> Any:
    raise LeakedTraceError(
        "backward: the graph behind this value was freed by an earlier backward pass; "
        "call backward(keep_graph=True) the first time to go back twice"
    )


PICK = Recipe("pick", lambda v, y, nodes: (), _pick)
FREED = Recipe("freed", lambda v, y, nodes: (), _freed)


def sweep(seeds: Iterable[tuple[Node, Any]], keep: bool = True) -> dict[Node, Any]:
    """Carry cotangents from `seeds` back to the leaves.

    Nodes are visited by falling index, which is a topological order; nothing recurses. Unless `keep`, each
    node drops what it saved as soon as it has been visited.
    """
    pending: dict[Node, Any] = {}
    for seed, g in seeds:
        g = settle(g, seed)
        pending[seed] = _sum(pending[seed], g) if seed in pending else g
    heap = [(-seed.index, seed) for seed in pending if seed.recipe is not None]
    heapify(heap)
    node: Node | None = heappop(heap)[1] if heap else None
    while node is not None:
        g = pending.pop(node)
        made: Any = node.recipe  # no leaf is on the heap
        shown = g
        if node.shape is None and made is not FREED:
            shown = next(part for part in g if part is not None)
            g = tuple([zeros(like, shown) if part is None else part for part, like in zip(g, node.dtype)])  # noqa: B905
        xp = node.xp or NAMESPACE[type(shown)] or shown.__array_namespace__()
        try:
            if xp.watched:
                contributions = made.run_beside(shown, g, node.saved, node.params, xp)
            else:
                contributions = made.run(g, node.saved, node.params, xp)
        except Exception as error:
            note_call(error, f"the derivative of {made.name}", (shown,), node.params or {})
            raise
        following: Node | None = None  # of a chain there is one, and the heap stays empty
        for parent, part in zip(node.parents, contributions):  # noqa: B905 - strict costs on a hot path
            if part.shape != parent.shape or part.dtype != parent.dtype:
                part = settle(part, parent)
            if parent in pending:
                pending[parent] = _sum(pending[parent], part)
            else:
                pending[parent] = part
                if parent.recipe is None:
                    continue
                if following is None:
                    following = parent
                else:
                    heappush(heap, (-parent.index, parent))
        if not keep:
            node.saved, node.parents = None, ()
            node.recipe = FREED
        if not heap:
            node = following
        elif following is None:
            node = heappop(heap)[1]
        else:
            node = heappushpop(heap, (-following.index, following))[1]
    return pending


def _sum(a: Any, b: Any) -> Any:
    """Two contributions to one cotangent, added where they live."""
    if isinstance(a, _Parts):
        return a + b
    if isinstance(a, Traced) or isinstance(b, Traced):  # not every array leaves a sum to the tensor
        return apply(TABLE["add"], (a, b))
    xp = namespace(a)
    with nullcontext() if xp.guard is None else xp.guard(a):
        return a + b


def zeros(like: Any, beside: Any) -> Any:
    """Zeros of the shape and dtype of `like`, where `beside` lives."""
    backend = backend_of(beside)
    device = beside.device if isinstance(beside, Tensor) else backend.device_of(beside)
    return namespace(beside).zeros(tuple(like.shape), dtype=like.dtype, device=device)


def settle(g: Any, like: Any) -> Any:
    """A cotangent with the shape, realness and dtype of its primal: the one place that makes these right."""
    if like.shape is None or (g.shape == like.shape and g.dtype == like.dtype):
        return g
    xp = namespace(g)
    with nullcontext() if xp.guard is None else xp.guard(g):
        if tuple(g.shape) != tuple(like.shape):
            g = unbroadcast(g, tuple(like.shape), xp)
        if KIND[g.dtype] > 1 and KIND[like.dtype] == 1:
            g = xp.real(g)
        return g if g.dtype == like.dtype else xp.astype(g, like.dtype)


def unbroadcast(g: Any, shape: tuple[int, ...], xp: Any) -> Any:
    """Sum over the axes along which an argument of `shape` was broadcast."""
    extra = len(g.shape) - len(shape)
    if extra < 0:  # assignment drops leading axes of length 1
        return xp.reshape(unbroadcast(g, shape[-extra:], xp), shape)
    if g.shape[extra:] == shape:
        return xp.sum(g, axis=tuple(range(extra))) if extra else g
    axes = tuple(range(extra)) + tuple(
        i + extra for i, n in enumerate(shape) if n == 1 and g.shape[i + extra] != 1
    )
    if axes:
        g = xp.sum(g, axis=axes, keepdims=True)
    g = xp.reshape(g, tuple(g.shape[extra:]))
    return g if tuple(g.shape) == shape else xp.broadcast_to(g, shape)
