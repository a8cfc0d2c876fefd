"""Matrix products by cuBLAS itself: CuPy refuses its own calls of it while a stream is captured.

As of CuPy 15 ``cublas.setStream`` raises NotImplementedError during a capture, and there is no call that sets
a workspace. Both are functions of the library that CuPy has loaded already, and are called there.
"""

from __future__ import annotations

import ctypes
import math
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import cupy
import numpy

from portagrad.compile.views import Layouts, collapsed

_LETTERS = {"f4": "S", "f8": "D", "c8": "C", "c16": "Z"}
_OPERATION = {False: 0, True: 1}  # CUBLAS_OP_N, CUBLAS_OP_T
_INT = ctypes.c_int
_WIDE = ctypes.c_longlong
_POINTER = ctypes.c_void_p


class Matrix(NamedTuple):
    """A matrix that lies in memory in rows, or whose transpose does.

    From where, how far one row is from the next, and one matrix of a batch from the next; in elements.
    """

    offset: int
    transposed: bool
    leading: int
    apart: int


class Product(NamedTuple):
    """So many products of m x k and k x n matrices."""

    batch: int
    m: int
    n: int
    k: int
    a: Matrix
    b: Matrix


def product(eq: Any, layouts: Layouts) -> Product | None:
    """A `matmul` or `tensordot` as cuBLAS takes it; None where it does not."""
    if eq.op.name not in ("matmul", "tensordot") or not all(hasattr(a, "dtype") for a in eq.args):
        return None
    (x, y), out = eq.args, eq.outs[0]
    if f"{out.dtype.kind}{out.dtype.itemsize}" not in _LETTERS or not x.dtype == y.dtype == out.dtype:
        return None
    rows, inner1, inner2, columns, batch = _axes(eq)
    m, k, n = (math.prod(v.shape[a] for a in axes) for v, axes in ((x, rows), (x, inner1), (y, columns)))
    if not math.prod(out.shape) or not k:
        return None
    a, b = _matrix(x, layouts, batch, rows, inner1), _matrix(y, layouts, batch, inner2, columns)
    if a is None or b is None:
        return None
    count = math.prod(batch)
    if count > 1 and not b.apart and not a.transposed and a.apart == m * a.leading:
        m, count = m * count, 1  # one tall product
    return Product(count, m, n, k, a, b)


def _axes(eq: Any) -> tuple[list[int], list[int], list[int], list[int], tuple[int, ...]]:
    """Axes: rows of the first, what is summed over in either, columns of the second; the batch's shape."""
    (x, y), out = eq.args, eq.outs[0]
    first, second = len(x.shape), len(y.shape)
    if eq.op.name == "matmul":
        rows, columns = [first - 2] * (first > 1), [second - 1] * (second > 1)
        batch = tuple(out.shape[: len(out.shape) - len(rows) - len(columns)])
        return rows, [first - 1], [max(0, second - 2)], columns, batch
    axes = eq.params["axes"]
    if isinstance(axes, int):
        inner1, inner2 = list(range(first - axes, first)), list(range(axes))
    else:
        inner1, inner2 = [a % first for a in axes[0]], [a % second for a in axes[1]]
    rows = [a for a in range(first) if a not in inner1]
    return rows, inner1, inner2, [a for a in range(second) if a not in inner2], ()


def _matrix(
    v: Any, layouts: Layouts, batch: tuple[int, ...], row_axes: list[int], column_axes: list[int]
) -> Matrix | None:
    """An operand, whose other axes are the batch's last; None where its axes are no one step apart."""
    offset, strides = layouts.steps(v)
    others = len(v.shape) - len(row_axes) - len(column_axes)
    its = [0 if n == 1 else s for n, s in zip(v.shape[:others], strides, strict=False)]
    steps = []
    for lengths, apart in (
        (batch, [0] * (len(batch) - others) + its),
        *[([v.shape[a] for a in axes], [strides[a] for a in axes]) for axes in (row_axes, column_axes)],
    ):
        joined, (step,) = collapsed(tuple(lengths), [apart])
        if len(joined) > 1:
            return None
        steps.append((math.prod(lengths), *(step or [0])))
    (_, next_one), (rows, by_row), (columns, by_column) = steps
    for transposed, long, step, unit, count in (
        (False, columns, by_row, by_column, rows),
        (True, rows, by_column, by_row, columns),
    ):
        if (unit == 1 or long == 1) and (step >= long or count == 1):
            return Matrix(offset, transposed, step if count > 1 else long, next_one)
    return None


class Blas:
    """A handle of cuBLAS on the current device.

    Raises
    ------
    OSError, AttributeError
        Where the library that CuPy has loaded is not found.
    """

    def __init__(self, library: Any = None) -> None:
        self.library = _loaded() if library is None else library
        self.lock = threading.Lock()
        handle = ctypes.c_void_p()
        self._check("cublasCreate_v2", ctypes.byref(handle))
        self.handle = handle

    def _check(self, name: str, *args: Any) -> None:
        status = getattr(self.library, name)(*args)
        if status:
            raise RuntimeError(f"{name}: cuBLAS returned status {status}")

    @contextmanager
    def on(self, stream: int, workspace: Any) -> Iterator[None]:
        """Calls go to a stream; setting it resets the workspace, so that this is set afterwards."""
        with self.lock:
            self._check("cublasSetStream_v2", self.handle, _POINTER(stream))
            size = ctypes.c_size_t(workspace.nbytes)
            self._check("cublasSetWorkspace_v2", self.handle, _POINTER(workspace.data.ptr), size)
            yield

    def multiply(self, p: Product, dtype: Any, x: int, y: int, out: int) -> None:
        """Into the memory at `out`, in rows: for cuBLAS, which counts in columns, the transposed product."""
        real = ctypes.c_float if dtype.itemsize // (1 + (dtype.kind == "c")) == 4 else ctypes.c_double
        scalar = real * 2
        one, zero = ctypes.byref(scalar(1, 0)), ctypes.byref(scalar(0, 0))
        at = [_POINTER(where + m.offset * dtype.itemsize) for where, m in ((x, p.a), (y, p.b))]
        letter = _LETTERS[f"{dtype.kind}{dtype.itemsize}"]
        head = (self.handle, _INT(_OPERATION[p.b.transposed]), _INT(_OPERATION[p.a.transposed]))
        sizes = (_INT(p.n), _INT(p.m), _INT(p.k))
        if p.batch == 1:
            b, a = (at[1], _INT(p.b.leading)), (at[0], _INT(p.a.leading))
            self._check(f"cublas{letter}gemm_v2", *head, *sizes, one, *b, *a, zero, _POINTER(out), _INT(p.n))
            return
        b3, a3 = ((w, _INT(m.leading), _WIDE(m.apart)) for w, m in ((at[1], p.b), (at[0], p.a)))
        c = (_POINTER(out), _INT(p.n), _WIDE(p.m * p.n), _INT(p.batch))
        self._check(f"cublas{letter}gemmStridedBatched", *head, *sizes, one, *b3, *a3, zero, *c)


def _loaded() -> Any:
    """The library that CuPy itself calls; asked for a handle, CuPy loads it."""
    _ = cupy.cuda.Device().cublas_handle
    major = cupy.cuda.runtime.runtimeGetVersion() // 1000
    if sys.platform == "win32":
        return ctypes.CDLL(f"cublas64_{major}.dll")
    return ctypes.CDLL(f"libcublas.so.{major}", mode=os.RTLD_NOW | os.RTLD_NOLOAD)


def workspace_size() -> int:
    """What NVIDIA recommends for `cublasSetWorkspace`: 32 MiB from Hopper (9.0) on, before that 4 MiB."""
    return (32 << 20) if int(cupy.cuda.Device().compute_capability) >= 90 else 4 << 20


_handles: dict[int, Blas] = {}


def blas() -> Blas:
    """The handle of the current device."""
    device = cupy.cuda.runtime.getDevice()
    if device not in _handles:
        _handles[device] = Blas()
    return _handles[device]


def empty_workspace() -> Any:
    return cupy.empty(workspace_size(), numpy.uint8)
