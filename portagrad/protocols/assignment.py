"""NumPy's functions that write into their first argument: a tensor takes the result as its new value."""

from __future__ import annotations

from typing import Any

from portagrad.errors import ConcretizationError
from portagrad.indexed import apply_at
from portagrad.op import TABLE
from portagrad.protocols.counterpart import Array, as_tensor, counterpart
from portagrad.protocols.elements import truth
from portagrad.tensor import Tensor


def written(a: Any, what: str) -> Tensor:
    """The tensor to write to; a raw array would lose the gradient of what is written."""
    if not isinstance(a, Tensor):
        raise ConcretizationError(
            f"{what}: it would write tensors into a raw array, and lose their gradient; begin with an array "
            f"like them, np.zeros_like(x) or np.zeros(n, like=x)"
        )
    return a


def add_at(a: Any, key: Any, value: Any, what: str) -> None:
    """Add at indices that may repeat."""
    a = written(a, what)
    a.rebind(apply_at(TABLE["index_add"], (a, value), {"key": key}))


@counterpart()
def copyto(xp: Any, dst: Any, src: Array, casting: str = "same_kind", where: Any = True) -> None:
    dst = written(dst, "np.copyto")
    src = xp.broadcast_to(src, dst.shape)
    dst.rebind(src if where is True else xp.where(as_tensor(where, dst, "np.copyto"), src, dst))


@counterpart()
def putmask(xp: Any, a: Any, mask: Array, values: Array) -> None:
    """Values by their place, over again where they are too few."""
    a = written(a, "np.putmask")
    flat = xp.reshape(values, (-1,))
    times = -(-a.size // flat.shape[0])
    a.rebind(xp.where(truth(xp, mask), xp.reshape(xp.tile(flat, (times,))[: a.size], a.shape), a))


@counterpart()
def place(xp: Any, arr: Any, mask: Array, vals: Array) -> None:
    """Values one after the other, over again where they are too few."""
    arr = written(arr, "np.place")
    where = truth(xp, mask)
    n, flat = int(xp.count_nonzero(where)), xp.reshape(vals, (-1,))
    arr[where] = xp.tile(flat, (-(-n // flat.shape[0]),))[:n]


@counterpart()
def put(xp: Any, a: Any, ind: Array, v: Array) -> None:
    a = written(a, "np.put")
    flat = xp.reshape(a, (-1,))
    ind, v = xp.reshape(ind, (-1,)), xp.reshape(v, (-1,))
    flat[ind] = xp.tile(v, (-(-ind.size // v.size),))[: ind.size]
    a.rebind(xp.reshape(flat, a.shape))


@counterpart()
def put_along_axis(xp: Any, arr: Any, indices: Array, values: Array, axis: int | None = None) -> None:
    arr = written(arr, "np.put_along_axis")
    if axis is None:
        return put(xp, arr, indices, xp.broadcast_to(values, indices.shape))
    shape = [
        max(n, m) if i != axis % arr.ndim else m
        for i, (n, m) in enumerate(zip(arr.shape, indices.shape, strict=True))
    ]
    key = [
        xp.reshape(xp.arange(n, device=xp.device_of(arr)), tuple(n if i == k else 1 for i in range(arr.ndim)))
        for k, n in enumerate(arr.shape)
    ]
    key[axis] = indices
    arr[tuple(key)] = xp.broadcast_to(values, tuple(shape))
    return None


@counterpart()
def fill_diagonal(xp: Any, a: Any, val: Array, wrap: bool = False) -> None:
    a = written(a, "np.fill_diagonal")
    n = min(a.shape)
    index = xp.arange(n, device=xp.device_of(a))
    a[(index,) * a.ndim] = val if val.ndim == 0 else xp.reshape(val, (-1,))[:n]
