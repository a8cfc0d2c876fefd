"""Batching rules: how an op runs once for all examples of a batch.

A rule is array-API code on the whole batch: it calls the op on other arguments, or what the op is made of,
and returns the result with the batch in front. A record names its rule (``batch=``) or brings one of its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from portagrad.op import Op
from portagrad.tensor import hold
from portagrad.trace import apply
from portagrad.transforms.tree import is_array


class Batch:
    """One call of an op for a batch: what a batching rule is given.

    Attributes
    ----------
    op : Op
    args : list
        The arguments, arrays as tensors; the first axis of one that is `batched` counts the examples.
    batched : list of bool
    params : dict
    size : int
        How many examples there are.
    xp : Namespace
        Of tensors, on the library of the arguments.
    each : callable
        ``each(f)`` gives what ``f(*args)`` returns for every example, where `f` sees one.
    """

    __slots__ = ("args", "batched", "each", "op", "params", "size", "xp")

    def __init__(
        self,
        op: Op,
        args: Sequence[Any],
        batched: list[bool],
        params: Mapping[str, Any],
        size: int,
        each: Callable[[Callable[..., Any]], Any],
    ) -> None:
        self.op = op
        self.args = [hold(a) if is_array(a) else a for a in args]
        self.batched = batched
        self.params = params
        self.size = size
        self.each = each
        self.xp = self.args[batched.index(True)].__array_namespace__()

    @property
    def ranks(self) -> list[int]:
        """Number of axes of one example's arguments."""
        return [len(getattr(x, "shape", ())) - b for x, b in zip(self.args, self.batched, strict=True)]

    def run(self, *args: Any, **changed: Any) -> Any:
        """The op on other arguments, with some of its parameters changed."""
        return apply(self.op, args, {**self.params, **changed})

    def aligned(self, rank: int) -> list[Any]:
        """The arguments with axes of length 1 behind the batch: examples broadcast as they would alone."""
        return [lifted(x, b, rank, self.xp) if b else x for x, b in zip(self.args, self.batched, strict=True)]

    def full(self, i: int) -> Any:
        """An argument with the batch in front, though the examples may share it."""
        x = self.args[i]
        if self.batched[i]:
            return x
        x = self.xp.asarray(x, device=self.xp.device_of(self.args[self.batched.index(True)]))
        return self.xp.broadcast_to(x, (self.size, *x.shape))


def lifted(x: Any, batched: bool, rank: int, xp: Any) -> Any:
    """An argument whose examples have so many axes; a batch of one if they share it."""
    shape = tuple(x.shape)
    front, shape_ = (shape[:1], shape[1:]) if batched else ((1,), shape)
    wanted = (*front, *(1,) * (rank - len(shape_)), *shape_)
    return x if wanted == shape else xp.reshape(x, wanted)


def beyond(axis: Any, rank: int) -> Any:
    """An axis of an example, or several, as axes of the batch."""
    return tuple([a % rank + 1 for a in axis]) if isinstance(axis, tuple | list) else axis % rank + 1


def rows(x: Any, xp: Any) -> Any:
    """Each example flattened."""
    return xp.reshape(x, (x.shape[0], math.prod(x.shape[1:])))


def pointwise(call: Batch) -> Any:
    """Ops that broadcast all their arrays together."""
    return call.run(*call.aligned(max(call.ranks)))


def trailing(call: Batch) -> Any:
    """Ops on the last axes of one array, whatever stands in front."""
    return call.run(*call.args)


def composed(call: Batch) -> Any:
    """Ops whose forward is made of other ops: these are batched instead."""
    forward: Any = call.op.forward
    return call.each(lambda *args: forward(*args, xp=call.xp, **call.params))


def reduction(call: Batch) -> Any:
    """Ops along axes, None being all of them."""
    (x,), (rank,), axis, xp = call.args, call.ranks, call.params["axis"], call.xp
    if not rank:  # along the only axis that an example can be given
        return call.run(xp.expand_dims(x, axis=1), axis=1, keepdims=False)
    if axis is not None:
        return call.run(x, axis=beyond(axis, rank))
    if call.op.name not in ("argmax", "argmin"):
        return call.run(x, axis=tuple(range(1, rank + 1)))
    y = call.run(rows(x, xp), axis=1, keepdims=False)
    return xp.reshape(y, (call.size, *(1,) * rank)) if call.params["keepdims"] else y


def along(call: Batch) -> Any:
    """Ops along an axis, which may be left out if it is the only one."""
    (x,), (rank,), axis = call.args, call.ranks, call.params["axis"]
    if axis is None and rank != 1:
        return NotImplemented  # an error, in the library's words
    return call.run(x, axis=1 if axis is None else beyond(axis, rank))


def flattened(call: Batch) -> Any:
    """Ops along axes, None meaning the flattened array."""
    (x,), (rank,), axis, xp = call.args, call.ranks, call.params["axis"], call.xp
    if axis is not None:
        return call.run(x, axis=beyond(axis, rank))
    y = call.run(rows(x, xp), axis=1)
    return y if call.op.name == "repeat" else xp.reshape(y, tuple(x.shape))


def spectral(call: Batch) -> Any:
    """Fourier transforms over several axes, and their shifts."""
    (rank,), axes, s = call.ranks, call.params["axes"], call.params.get("s")
    if axes is None:
        axes = tuple(range(0 if s is None else rank - len(s), rank))
    return call.run(*call.args, axes=beyond(axes, rank))


def joined(call: Batch) -> Any:
    """``concat`` and ``stack``: arrays without a batch are given one."""
    axis, full = call.params["axis"], [call.full(i) for i in range(len(call.args))]
    if axis is None:
        return call.run(*[rows(x, call.xp) for x in full], axis=1)
    return call.run(*full, axis=beyond(axis, call.ranks[0] + (call.op.name == "stack")))


def shaped(call: Batch) -> Any:
    """``reshape``, ``broadcast_to`` and ``tile``."""
    if call.op.name == "tile":
        repetitions = tuple(call.params["repetitions"])
        rank = max(*call.ranks, len(repetitions))
        ones = (1,) * (rank + 1 - len(repetitions))
        return call.run(*call.aligned(rank), repetitions=(*ones, *repetitions))
    shape = call.params["shape"] if isinstance(call.params["shape"], tuple) else (call.params["shape"],)
    if call.op.name == "broadcast_to":
        return call.run(*call.aligned(len(shape)), shape=(call.size, *shape))
    (x,) = call.args
    if -1 in shape:
        known = math.prod([n for n in shape if n != -1])
        shape = tuple([math.prod(x.shape[1:]) // known if n == -1 and known else n for n in shape])
    return call.run(x, shape=(call.size, *shape))


def permuted(call: Batch) -> Any:
    """``permute_dims`` and ``moveaxis``, ``expand_dims`` and ``squeeze``."""
    (x,), (rank,), params = call.args, call.ranks, call.params
    if call.op.name == "permute_dims":
        return call.run(x, axes=(0, *beyond(tuple(params["axes"]), rank)))
    if call.op.name == "moveaxis":
        return call.run(x, **{name: beyond(axes, rank) for name, axes in params.items()})
    axis = params["axis"]
    if call.op.name == "expand_dims":
        rank += len(axis) if isinstance(axis, tuple) else 1
    return call.run(x, axis=beyond(axis, rank))


def product(call: Batch) -> Any:
    """``matmul``: a vector stands for a matrix of one row or column."""
    (x1, x2), (rank1, rank2), (first, second), xp = call.args, call.ranks, call.batched, call.xp
    if not second and rank2 <= 2 and 1 in (rank1, rank2):
        return xp.matmul(x1, x2)  # the batch is one more axis of rows
    if not first and (rank1, rank2) == (2, 1):
        return xp.matmul(x2, xp.matrix_transpose(x1))
    x1 = xp.expand_dims(x1, axis=-2) if rank1 == 1 else x1
    x2 = xp.expand_dims(x2, axis=-1) if rank2 == 1 else x2
    rank = max(rank1, rank2, 2)
    y = xp.matmul(lifted(x1, first, rank, xp), lifted(x2, second, rank, xp))
    gone = tuple([axis for axis, its in ((-2, rank1), (-1, rank2)) if its == 1])
    return xp.squeeze(y, axis=gone) if gone else y


def affine(call: Batch) -> Any:
    """``linear``: more rows of the same weights; else the products and sums that it is made of."""
    return composed(call) if any(call.batched[1:]) else call.run(*call.args)


def contraction(call: Batch) -> Any:
    """``tensordot``: of two batches a product of matrices, the axes to sum over side by side."""
    (x1, x2), (rank1, rank2), axes, xp = call.args, call.ranks, call.params["axes"], call.xp
    if isinstance(axes, int):
        axes = range(rank1 - axes, rank1), range(axes)
    inner1, inner2 = [a % rank1 for a in axes[0]], [a % rank2 for a in axes[1]]
    if not all(call.batched):
        first, second = call.batched
        y = call.run(x1, x2, axes=([a + first for a in inner1], [a + second for a in inner2]))
        return y if first else xp.moveaxis(y, rank1 - len(inner1), 0)
    free1 = [a for a in range(rank1) if a not in inner1]
    free2 = [a for a in range(rank2) if a not in inner2]
    x1 = xp.permute_dims(x1, (0, *[a + 1 for a in free1 + inner1]))
    x2 = xp.permute_dims(x2, (0, *[a + 1 for a in inner2 + free2]))
    lengths1, lengths2 = tuple(x1.shape[1 : len(free1) + 1]), tuple(x2.shape[len(inner2) + 1 :])
    summed = math.prod(x2.shape[1 : len(inner2) + 1])
    y = xp.matmul(
        xp.reshape(x1, (call.size, math.prod(lengths1), summed)),
        xp.reshape(x2, (call.size, summed, math.prod(lengths2))),
    )
    return xp.reshape(y, (call.size, *lengths1, *lengths2))


def crossed(call: Batch) -> Any:
    """``cross``, whose axis counts from the end."""
    rank, axis = max(call.ranks), call.params["axis"]
    pairs = zip(call.args, call.batched, strict=True)
    return call.run(*[lifted(x, b, rank, call.xp) for x, b in pairs], axis=axis if axis < 0 else axis - rank)


def solution(call: Batch) -> Any:
    """``solve``: all right-hand sides of one matrix at once; a vector stands for a matrix of one column."""
    (x1, x2), (rank1, rank2), (first, second), xp = call.args, call.ranks, call.batched, call.xp
    if not second and rank2 == 1:
        return call.run(x1, x2)
    if not first and rank1 == 2 and rank2 <= 2:
        beside = xp.moveaxis(x2, 0, 1)
        y = call.run(x1, xp.reshape(beside, (beside.shape[0], math.prod(beside.shape[1:]))))
        return xp.moveaxis(xp.reshape(y, tuple(beside.shape)), 1, 0)
    x2 = xp.expand_dims(x2, axis=-1) if rank2 == 1 else x2
    rank = max(rank1, rank2, 2)
    y = call.run(lifted(x1, first, rank, xp), lifted(x2, second, rank, xp))
    return xp.squeeze(y, axis=-1) if rank2 == 1 else y
