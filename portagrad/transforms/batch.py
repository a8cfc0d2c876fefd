"""vmap: a function of one example becomes a function of many, by batching rules instead of a loop."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import optree

from portagrad.errors import ConcretizationError, LeakedTraceError
from portagrad.op import TABLE, Op
from portagrad.tensor import Tensor, bare, hold
from portagrad.trace import Trace, Traced, apply, evaluate
from portagrad.transforms import batched_indexing as indexing
from portagrad.transforms import batching
from portagrad.transforms.gradient import array
from portagrad.transforms.record import leaked
from portagrad.transforms.tree import SPACE, any_traced, flatten, is_array, unflatten

RULES: Mapping[str, Callable[[batching.Batch], Any]] = {
    "affine": batching.affine,
    "along": batching.along,
    "beside": indexing.beside,
    "composed": batching.composed,
    "contraction": batching.contraction,
    "crossed": batching.crossed,
    "flattened": batching.flattened,
    "gathered": indexing.gathered,
    "indexed": indexing.indexed,
    "joined": batching.joined,
    "member": indexing.member,
    "permuted": batching.permuted,
    "pointwise": batching.pointwise,
    "product": batching.product,
    "put": indexing.put,
    "reduction": batching.reduction,
    "searched": indexing.searched,
    "shaped": batching.shaped,
    "solution": batching.solution,
    "spectral": batching.spectral,
    "taken": indexing.taken,
    "trailing": batching.trailing,
    "untaken": indexing.untaken,
}
"""The batching rules that the records of ops name."""


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
        if not self.open:
            raise LeakedTraceError(leaked(op, self))
        if op.ragged:
            self.check_shape(op)
        batched = [isinstance(a, Traced) and a.trace is self for a in args]
        values = [a.value if b else bare(a) for a, b in zip(args, batched, strict=True)]
        y: Any = NotImplemented
        rule = RULES[op.batch] if isinstance(op.batch, str) else op.batch
        if rule is not None:
            each = functools.partial(self.each, args)
            y = rule(batching.Batch(op, values, batched, params, self.size, each))
        if y is NotImplemented:
            y = one_by_one(op, values, batched, params, self.size)
        if op.several:
            return op.result(*[Batched(self, bare(part)) for part in y])
        return Batched(self, bare(y))

    def each(self, args: tuple[Any, ...], f: Callable[..., Any]) -> Any:
        """What `f` makes of the arguments of an example: results with the batch in front."""
        y = f(*[hold(a) if is_array(a) else a for a in args])
        return [self.front(part) for part in y] if isinstance(y, tuple) else self.front(y)

    def front(self, y: Any) -> Any:
        """A result with the batch in front, though it may be the same for all."""
        return y.value if isinstance(y, Tensor) and y.trace is self else _spread(bare(y), self.size)

    def check_shape(self, op: Op) -> None:
        raise ConcretizationError(
            f"{op.name}: the shape of its result depends on the numbers in its argument, which differ "
            f"from example to example of a vmap, and a batch has one shape; use xp.where and a fixed "
            f"shape, or call it outside vmap, in a loop over the examples"
        )

    def check_branch(self, value: Any, what: str) -> None:
        raise ConcretizationError(
            f"{what}: a batched value has one answer per example, so that Python cannot branch on it; "
            f"use xp.where, or pg.stop_gradient and a loop outside vmap"
        )


def _spread(x: Any, size: int) -> Any:
    return apply(TABLE["broadcast_to"], (x,), {"shape": (size, *x.shape)})


def one_by_one(op: Op, values: list[Any], batched: list[bool], params: Mapping[str, Any], size: int) -> Any:
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

    Each op runs once for the whole batch, by its batching rule; an op of someone else's without one runs once
    per example. It nests, and composes with every other transform in either order.

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
        If `f` branches on a batched value, or a shape depends on one.

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
            y = bare(_moved(trace.front(_as_array(x)), 0, axis))
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
