"""Calls where Dask differs from the standard."""

from collections.abc import Callable, Mapping
from typing import Any

import array_api_compat.dask.array
import dask.array
import numpy

from portagrad_dask import linalg, special
from portagrad_dask.indexing import getitem, index_add, index_put

da: Any = dask.array
xp: Any = array_api_compat.dask.array


def broadcast_to(x: Any, shape: tuple[int, ...]) -> Any:
    """Along the first axis that grows in chunks of Dask's own limit, where Dask makes a single one.

    The cotangent of a sum over a data set is as large as that set, and no chunk of it may be.
    """
    if any(n != n for n in shape):
        raise ValueError(
            f"broadcast_to: an axis of the shape {shape} is of unknown length, as it is in Dask after a "
            f"selection by values; compute the lengths before, with x.compute_chunk_sizes()"
        )
    new = len(shape) - x.ndim
    if new < 0:
        raise ValueError(f"broadcast_to: the shape {x.shape} has more axes than {shape}")
    grown = [i for i, n in enumerate(shape) if i < new or x.shape[i - new] != n]
    chunks: list[Any] = [(n,) if i in grown else x.chunks[i - new] for i, n in enumerate(shape)]
    if grown and 0 not in shape:
        chunks[grown[0]] = "auto"
    return da.broadcast_to(x, shape, chunks=da.core.normalize_chunks(tuple(chunks), shape, dtype=x.dtype))


def can_cast(from_: Any, to: Any) -> bool:
    """NumPy's, which would compute an array to learn its dtype."""
    return bool(numpy.can_cast(from_.dtype if isinstance(from_, da.Array) else from_, to))


def diff(x: Any, *, axis: int = -1, n: int = 1, prepend: Any = None, append: Any = None) -> Any:
    """Dask computes what is put on the ends."""
    parts = [part for part in (prepend, x, append) if part is not None]
    return da.diff(da.concatenate(parts, axis=axis), n=n, axis=axis)


def eye(n_rows: int, n_cols: int | None = None, *, k: int = 0, dtype: Any = None, device: Any = None) -> Any:
    """Dask's own leaves blocks of oblong matrices undefined."""
    columns = n_rows if n_cols is None else n_cols
    ones = da.arange(n_rows)[:, None] + k == da.arange(columns)[None, :]
    return ones.astype(numpy.float64 if dtype is None else dtype)


def from_dlpack(x: Any, *, device: Any = None, copy: bool | None = None) -> Any:
    """A Dask array is its own exchange; of another library's array NumPy takes the values."""
    return x if isinstance(x, da.Array) else da.from_array(numpy.from_dlpack(x, copy=copy))


def repeat(x: Any, repeats: Any, *, axis: int | None = None) -> Any:
    """Repetitions that differ are computed at once: the shape of the result depends on them."""
    if axis is None:
        x, axis = reshape(x, (-1,)), 0
    if isinstance(repeats, int):
        return da.repeat(x, repeats, axis=axis)
    positions = numpy.repeat(numpy.arange(x.shape[axis]), numpy.asarray(repeats))
    return da.take(x, positions, axis=axis)


def reshape(x: Any, shape: tuple[int, ...], *, copy: bool | None = None) -> Any:
    """Dask reshapes along chunk borders only: elsewhere the array becomes one chunk first."""
    try:
        return xp.reshape(x, shape, copy=copy)
    except NotImplementedError:
        return xp.reshape(x.rechunk(-1), shape, copy=copy)


def searchsorted(x1: Any, x2: Any, *, side: str = "left", sorter: Any = None) -> Any:
    return xp.searchsorted(x1 if sorter is None else getitem(x1, key=sorter), x2, side=side)


def take(x: Any, indices: Any, *, axis: int | None = None) -> Any:
    """Dask wants the axis said, also of an array with one only."""
    return da.take(reshape(x, (-1,)) if axis is None else x, indices, axis=axis or 0)


def take_along_axis(x: Any, indices: Any, *, axis: int = -1) -> Any:
    last = [da.moveaxis(a, axis, -1) for a in (x, indices)]
    taken = da.apply_gufunc(
        lambda a, i: numpy.take_along_axis(a, i, axis=-1),
        "(n),(m)->(m)",
        *last,
        output_dtypes=x.dtype,
        allow_rechunk=True,
    )
    return da.moveaxis(taken, -1, axis)


def unique_values(x: Any, /) -> Any:
    """Different values are found at once: the shape of the result depends on them."""
    return da.from_array(numpy.unique(numpy.asarray(x), equal_nan=False))


def unique(name: str) -> Callable[..., Any]:
    """So are where, which and how many they are."""

    def found(x: Any, /) -> Any:
        result = getattr(numpy, name)(numpy.asarray(x))
        return type(result)(*map(da.from_array, result))

    return found


kernels: Mapping[str, Callable[..., Any]] = {
    **linalg.kernels,
    **special.kernels,
    "broadcast_to": broadcast_to,
    "can_cast": can_cast,
    "diff": diff,
    "broadcast_shapes": numpy.broadcast_shapes,
    "eye": eye,
    "from_dlpack": from_dlpack,
    "getitem": getitem,
    "index_add": index_add,
    "index_put": index_put,
    "repeat": repeat,
    "reshape": reshape,
    "searchsorted": searchsorted,
    "take": take,
    "take_along_axis": take_along_axis,
    "unique_all": unique("unique_all"),
    "unique_counts": unique("unique_counts"),
    "unique_inverse": unique("unique_inverse"),
    "unique_values": unique_values,
}
