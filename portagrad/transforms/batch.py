"""vmap: a function of one example becomes a function of many, by batching rules instead of a loop."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import optree

from portagrad.errors import ConcretizationError
from portagrad.op import TABLE, Op
from portagrad.tensor import CONSTANT, Tensor, bare, hold
from portagrad.trace import Trace, Traced, apply, evaluate
from portagrad.transforms.gradient import array
from portagrad.transforms.tree import SPACE, any_traced, flatten, is_array, unflatten


class Batched(Tensor):
    """A tensor whose value has the batch as its first axis, which user code does not see."""

    __slots__ = ()

    @property
    def shape(self) -> tuple[int, ...]:
        """Lengths of the axes of one example."""
        return tuple(self.value.shape[1:])


class BatchTrace(Trace):
    """Runs each op once for all examples."""

    __slots__ = ("size",)
    axes = 1
    differentiates = False
    unplain = (
        "holds one number for each example of a vmap; compute with it in xp, or return it from the function"
    )

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def process(self, op: Op, args: tuple[Any, ...], params: Mapping[str, Any]) -> Any:
        batched = [isinstance(a, Traced) and a.trace is self for a in args]
        values = [
            a.value if b or (isinstance(a, Traced) and a.trace is CONSTANT) else a
            for a, b in zip(args, batched, strict=True)
        ]
        rule = op.batch if callable(op.batch) else _RULES.get(op.batch)
        call = rule and rule(op, values, batched, dict(params))
        y = evaluate(op, *call) if call else _one_by_one(op, values, batched, params, self.size)
        if op.several:
            return op.result(*[Batched(self, bare(part)) for part in y])
        return Batched(self, bare(y))

    def check_branch(self, value: Any, what: str) -> None:
        raise ConcretizationError(
            f"{what}: a batched value has one answer per example, so that Python cannot branch on it; "
            f"use xp.where, or pg.stop_gradient and a loop outside vmap"
        )


Call = tuple[list[Any], Mapping[str, Any]] | None
"""What a batching rule answers: arguments and parameters for one call of the op, with the batch in front of
the result; None where only a loop will do."""


def _rank(value: Any, batched: bool) -> int:
    """Number of axes of one example."""
    return len(getattr(value, "shape", ())) - batched


def aligned(values: list[Any], batched: list[bool], rank: int) -> list[Any]:
    """Batched values with axes of length 1 behind the batch: so examples broadcast as they would alone."""
    out = []
    for value, b in zip(values, batched, strict=True):
        missing = rank - _rank(value, b)
        if b and missing:
            shape = tuple(value.shape)
            value = _reshape(value, (shape[0], *(1,) * missing, *shape[1:]))
        out.append(value)
    return out


def _reshape(x: Any, shape: tuple[int, ...]) -> Any:
    return apply(TABLE["reshape"], (x,), {"shape": shape, "copy": None})


def pointwise(op: Op, values: list[Any], batched: list[bool], params: dict[str, Any]) -> Call:
    """Ops that broadcast all their arrays together."""
    rank = max(_rank(v, b) for v, b in zip(values, batched, strict=True))
    return aligned(values, batched, rank), params


def trailing(op: Op, values: list[Any], batched: list[bool], params: dict[str, Any]) -> Call:
    """Ops on the last axes of one array, whatever stands in front."""
    return (values, params) if len(values) == 1 else None


def reduction(op: Op, values: list[Any], batched: list[bool], params: dict[str, Any]) -> Call:
    """Ops along axes, None being all of them."""
    if not batched[0] or any(batched[1:]):
        return None
    rank = _rank(values[0], True)
    if not rank:  # along the only axis that an example can be given
        shape = tuple(values[0].shape)
        if params.get("keepdims"):
            return None
        return [_reshape(values[0], (*shape, 1)), *values[1:]], {**params, "axis": 1}
    axis = params["axis"]
    if axis is None:
        axis = tuple(range(rank))
        if op.name in ("argmax", "argmin"):
            if params.get("keepdims"):
                return None
            values = [_reshape(values[0], (values[0].shape[0], -1)), *values[1:]]
            axis = 0
            rank = 1
    return values, {**params, "axis": _shifted(axis, rank)}


def along(op: Op, values: list[Any], batched: list[bool], params: dict[str, Any]) -> Call:
    """Ops along axes, None meaning something of its own unless there is one axis only."""
    rank = _rank(values[0], batched[0])
    axis = params["axis"]
    if not batched[0] or any(batched[1:]) or not rank or (axis is None and rank > 1):
        return None
    return values, {**params, "axis": _shifted(0 if axis is None else axis, rank)}


def _shifted(axis: Any, rank: int) -> Any:
    return tuple([a % rank + 1 for a in axis]) if isinstance(axis, tuple) else axis % rank + 1


def joined(op: Op, values: list[Any], batched: list[bool], params: dict[str, Any]) -> Call:
    """``concat`` and ``stack``: arrays without a batch are given one."""
    axis = params["axis"]
    if axis is None:
        return None
    size = next(v.shape[0] for v, b in zip(values, batched, strict=True) if b)
    rank = _rank(values[0], batched[0]) + (op.name == "stack")
    full = [v if b else _spread(v, size) for v, b in zip(values, batched, strict=True)]
    return full, {**params, "axis": axis % rank + 1}


def _spread(x: Any, size: int) -> Any:
    return apply(TABLE["broadcast_to"], (x,), {"shape": (size, *x.shape)})


def shaped(op: Op, values: list[Any], batched: list[bool], params: dict[str, Any]) -> Call:
    """``reshape`` and ``broadcast_to``."""
    (x,) = values
    shape = params["shape"] if isinstance(params["shape"], tuple) else (params["shape"],)
    if op.name == "broadcast_to":
        (x,) = aligned([x], [True], len(shape))
    elif -1 in shape:
        known = functools.reduce(lambda a, b: a * b, [n for n in shape if n != -1], 1)
        count = functools.reduce(lambda a, b: a * b, tuple(x.shape[1:]), 1)
        shape = tuple([count // known if n == -1 and known else n for n in shape])
    return [x], {**params, "shape": (x.shape[0], *shape)}


def permuted(op: Op, values: list[Any], batched: list[bool], params: dict[str, Any]) -> Call:
    """``permute_dims`` and ``moveaxis``, ``expand_dims`` and ``squeeze``."""
    (x,) = values
    rank = _rank(x, True)
    if op.name == "permute_dims":
        return values, {"axes": (0, *_shifted(tuple(params["axes"]), rank))}
    if op.name == "moveaxis":
        return values, {name: _shifted(params[name], rank) for name in ("source", "destination")}
    axis = params["axis"]
    if op.name == "expand_dims":
        rank += len(axis) if isinstance(axis, tuple) else 1
    return values, {"axis": _shifted(axis, rank)}


def product(op: Op, values: list[Any], batched: list[bool], params: dict[str, Any]) -> Call:
    """``matmul`` of stacks of matrices; vectors go one by one unless the other side is not batched."""
    ranks = [_rank(v, b) for v, b in zip(values, batched, strict=True)]
    if min(ranks) > 1:
        return aligned(values, batched, max(ranks)), params
    if batched == [True, False] and ranks[1] <= 2:  # rows of a longer batch
        return values, params
    return None


def affine(op: Op, values: list[Any], batched: list[bool], params: dict[str, Any]) -> Call:
    """``linear``: more rows of the same weights."""
    return (values, params) if batched[0] and not any(batched[1:]) and _rank(values[0], True) else None


def indexed(op: Op, values: list[Any], batched: list[bool], params: dict[str, Any]) -> Call:
    """Indexing: every example by the same index."""
    key = params["key"] if isinstance(params["key"], tuple) else (params["key"],)
    if any(not isinstance(k, int | slice | type(None) | type(...)) for k in key):
        return None
    size = next(v.shape[0] for v, b in zip(values, batched, strict=True) if b)
    params = {**params, "key": (slice(None), *key)}
    if "shape" in params:
        params["shape"] = (size, *params["shape"])
    if len(values) == 2:
        x, value = values
        x = x if batched[0] else _spread(x, size)
        if batched[1]:
            part = evaluate(TABLE["getitem"], (x,), {"key": params["key"]})
            (value,) = aligned([value], [True], len(part.shape) - 1)
        values = [x, value]
    return values, params


_RULES: dict[Any, Callable[..., Call]] = {
    "pointwise": pointwise,
    "trailing": trailing,
    "reduction": reduction,
    "along": along,
    "joined": joined,
    "shaped": shaped,
    "permuted": permuted,
    "product": product,
    "affine": affine,
    "indexed": indexed,
}


def _one_by_one(op: Op, values: list[Any], batched: list[bool], params: Mapping[str, Any], size: int) -> Any:
    """The loop that every rule stands for: one call per example, the results stacked."""
    results = []
    for i in range(size):
        key = {"key": (i, ...)}
        one = [
            evaluate(TABLE["getitem"], (v,), key) if b else v for v, b in zip(values, batched, strict=True)
        ]
        results.append(evaluate(op, one, params))
    if not op.several:
        return apply(TABLE["stack"], tuple(results), {"axis": 0})
    return [apply(TABLE["stack"], parts, {"axis": 0}) for parts in zip(*results, strict=True)]


def vmap(f: Callable[..., Any], in_axes: Any = 0, out_axes: Any = 0) -> Callable[..., Any]:
    """A function of one example, made to take many at once.

    Each op runs once for the whole batch, by its batching rule; an op without one runs once per example. It
    nests, and composes with every other transform in either order.

    Parameters
    ----------
    f : callable
        Maps pytrees of arrays to a pytree of arrays.
    in_axes : int, None, or a tuple or pytree of these
        The axis of each argument that counts the examples; None for an argument that they share. One number
        serves all arguments, and in a tree all leaves below it.
    out_axes : int, or a pytree of ints
        Where the results have that axis.

    Returns
    -------
    callable
        Takes f's positional arguments with the additional axis.

    Raises
    ------
    ValueError
        If no argument is batched, or the batches differ in length.
    ConcretizationError
        If `f` branches on a batched value.

    Examples
    --------
    >>> vmap(lambda x, w: x @ w, in_axes=(0, None))(np.ones((3, 2)), np.ones(2))
    array([2., 2., 2.])
    >>> vmap(pg.grad(lambda x: pg.sum(x**2)))(np.asarray([[1.0, 2.0], [3.0, 4.0]]))
    array([[2., 4.],
           [6., 8.]])
    """

    @functools.wraps(f)
    def batched(*args: Any) -> Any:
        leaves, structure = flatten(args)
        axes = _axes(in_axes, args, structure, "in_axes")
        size = _size(leaves, axes)
        trace = BatchTrace(size)
        inner = [
            Batched(trace, _moved(bare(x), axis, 0)) if axis is not None else _constant(x)
            for x, axis in zip(leaves, axes, strict=True)
        ]
        try:
            out = f(*unflatten(structure, inner))
        finally:
            trace.close()
        traced = any_traced(leaves)
        results, structure = flatten(out)
        ends = _axes(out_axes, out, structure, "out_axes")
        done = []
        for x, axis in zip(results, ends, strict=True):
            if isinstance(x, Tensor) and x.trace is trace:
                y = x.value
            else:
                y = _spread(bare(_as_array(x)), size)
            y = bare(_moved(y, 0, axis))
            done.append(hold(y) if traced else array(y))
        return unflatten(structure, done)

    return batched


def _as_array(x: Any) -> Any:
    if not is_array(x):
        raise TypeError(f"vmap: the function returned a {type(x).__name__}, not an array; make it one in xp")
    return x


def _constant(x: Any) -> Any:
    return hold(x) if is_array(x) else x


def _axes(axes: Any, tree: Any, structure: Any, name: str) -> list[int | None]:
    """An axis for each leaf, from a number, or a tree that is a prefix of the arguments'."""
    if axes is None or isinstance(axes, int):
        return [axes] * structure.num_leaves
    try:
        prefix: Any = tuple(axes) if isinstance(axes, list) and isinstance(tree, tuple) else axes
        filled: Sequence[Any] = optree.broadcast_prefix(
            optree.tree_map(
                lambda a: _SHARED if a is None else a, prefix, none_is_leaf=True, namespace=SPACE
            ),
            tree,
            namespace=SPACE,
        )
    except ValueError as error:
        raise ValueError(f"vmap: {name}={axes!r} does not fit the structure {structure}: {error}") from None
    return [None if a is _SHARED else a for a in filled]


_SHARED = object()  # None as a leaf


def _size(leaves: list[Any], axes: list[int | None]) -> int:
    sizes: dict[int, Any] = {}
    for i, (x, axis) in enumerate(zip(leaves, axes, strict=True)):
        if axis is None:
            continue
        shape = tuple(getattr(x, "shape", ()))
        if not is_array(x) or not -len(shape) <= axis < len(shape):
            raise ValueError(
                f"vmap: leaf {i} has shape {shape} and no axis {axis}; name another in in_axes, "
                f"or None if the examples share it"
            )
        sizes.setdefault(shape[axis], i)
    if len(sizes) != 1:
        found = ", ".join(f"{n} (leaf {i})" for n, i in sizes.items()) or "none"
        raise ValueError(f"vmap: the batch must have one length, found {found}; see in_axes")
    (size,) = sizes
    if not size:
        raise ValueError("vmap: the batch is empty, so there is no example to learn the results' shapes from")
    return size


def _moved(x: Any, source: int, destination: Any) -> Any:
    if destination is None:
        raise ValueError("vmap: out_axes must be integers: every result has the batch's axis")
    if source == destination:
        return x
    return apply(TABLE["moveaxis"], (x,), {"source": source, "destination": destination})
