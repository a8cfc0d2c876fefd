"""NumPy's products, diagonals and linear algebra, where the standard has them otherwise or not."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np

from portagrad.errors import NoCounterpartError
from portagrad.protocols.counterpart import Array, Arrays, counterpart
from portagrad.protocols.elements import inexact
from portagrad.protocols.shapes import transpose
from portagrad.tensor import kind


@counterpart()
def dot(xp: Any, a: Array, b: Array, out: Any = None) -> Any:
    if a.ndim == 0 or b.ndim == 0:
        return a * b
    if a.ndim <= 2 and b.ndim <= 2:
        return xp.matmul(a, b)
    return xp.tensordot(a, b, axes=((-1,), (-1 if b.ndim == 1 else -2,)))


@counterpart()
def inner(xp: Any, a: Array, b: Array) -> Any:
    return a * b if a.ndim == 0 or b.ndim == 0 else xp.tensordot(a, b, axes=((-1,), (-1,)))


@counterpart()
def vdot(xp: Any, a: Array, b: Array) -> Any:
    return xp.vecdot(xp.reshape(a, (-1,)), xp.reshape(b, (-1,)))


@counterpart()
def vecdot(xp: Any, x1: Array, x2: Array, axis: int = -1) -> Any:
    return xp.vecdot(x1, x2, axis=axis)


@counterpart()
def matvec(xp: Any, x1: Array, x2: Array) -> Any:
    return xp.matmul(x1, x2[..., None])[..., 0]


@counterpart()
def vecmat(xp: Any, x1: Array, x2: Array) -> Any:
    return xp.matmul(xp.conj(x1)[..., None, :], x2)[..., 0, :]


@counterpart()
def outer(xp: Any, a: Array, b: Array) -> Any:
    return xp.reshape(a, (-1, 1)) * xp.reshape(b, (1, -1))


@counterpart()
def tensordot(xp: Any, a: Array, b: Array, axes: Any = 2) -> Any:
    if not isinstance(axes, int):
        axes = tuple((i,) if isinstance(i, int) else tuple(i) for i in axes)
    return xp.tensordot(a, b, axes=axes)


@counterpart()
def kron(xp: Any, a: Array, b: Array) -> Any:
    ndim = max(a.ndim, b.ndim)
    a, b = (x[(*[None] * (ndim - x.ndim), ...)] for x in (a, b))
    pairs = [(n, m) for n, m in zip(a.shape, b.shape, strict=True)]
    spread = xp.reshape(a, tuple(n for pair in pairs for n in (pair[0], 1)))
    other = xp.reshape(b, tuple(m for pair in pairs for m in (1, pair[1])))
    return xp.reshape(spread * other, tuple(n * m for n, m in pairs))


@counterpart()
def cross(
    xp: Any, a: Array, b: Array, axisa: int = -1, axisb: int = -1, axisc: int = -1, axis: int | None = None
) -> Any:
    axisa, axisb, axisc = (axisa, axisb, axisc) if axis is None else (axis, axis, axis)
    a, b = xp.broadcast_arrays(xp.moveaxis(a, axisa, -1), xp.moveaxis(b, axisb, -1))
    return xp.moveaxis(xp.linalg.cross(a, b), -1, axisc)


# Diagonals


@counterpart()
def diagonal(xp: Any, a: Array, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Any:
    return xp.linalg.diagonal(xp.moveaxis(a, (axis1, axis2), (-2, -1)), offset=offset)


@counterpart()
def trace(xp: Any, a: Array, offset: int = 0, axis1: int = 0, axis2: int = 1, dtype: Any = None) -> Any:
    return xp.sum(diagonal(xp, a, offset, axis1, axis2), axis=-1, dtype=dtype)


@counterpart()
def diag(xp: Any, v: Array, k: int = 0) -> Any:
    return diagflat(xp, v, k) if v.ndim == 1 else xp.linalg.diagonal(v, offset=k)


@counterpart()
def diagflat(xp: Any, v: Array, k: int = 0) -> Any:
    v = xp.reshape(v, (-1,))
    n = v.shape[0]
    square = xp.eye(n, dtype=v.dtype, device=xp.device_of(v)) * v
    if k == 0:
        return square
    beside = xp.zeros((n, abs(k)), dtype=v.dtype, device=xp.device_of(v))
    beyond = xp.zeros((abs(k), n + abs(k)), dtype=v.dtype, device=xp.device_of(v))
    wide = xp.concat([beside, square] if k > 0 else [square, beside], axis=1)
    return xp.concat([wide, beyond] if k > 0 else [beyond, wide], axis=0)


# Matrices


@counterpart("linalg.norm")
def norm(xp: Any, x: Array, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Any:
    x = inexact(xp, x)
    if axis is None and (ord is None or (ord == 2 and x.ndim == 1)):
        return xp.linalg.vector_norm(x, keepdims=keepdims)
    axes = tuple(range(x.ndim)) if axis is None else (axis,) if isinstance(axis, int) else tuple(axis)
    if len(axes) == 1:
        return xp.linalg.vector_norm(x, axis=axes[0], keepdims=keepdims, ord=2 if ord is None else ord)
    if len(axes) != 2:
        raise ValueError(
            f"np.linalg.norm: axis={axis!r} names neither a vector nor a matrix of {x.ndim} axes"
        )
    y = xp.linalg.matrix_norm(xp.moveaxis(x, axes, (-2, -1)), ord="fro" if ord is None else ord)
    return xp.expand_dims(y, axis=tuple(sorted(a % x.ndim for a in axes))) if keepdims else y


@counterpart("linalg.cond")
def cond(xp: Any, x: Array, p: Any = None) -> Any:
    if p in (None, 2, -2):
        s = xp.linalg.svdvals(x)
        return s[..., -1] / s[..., 0] if p == -2 else s[..., 0] / s[..., -1]
    return xp.linalg.matrix_norm(x, ord=p) * xp.linalg.matrix_norm(xp.linalg.inv(x), ord=p)


@counterpart("linalg.eig")
def eig(xp: Any, a: Array) -> Any:
    """Of a real matrix whose eigenvalues are all real, real, as NumPy has it."""
    values, vectors = found = xp.linalg.eig(a)
    if kind(a) > 1 or not bool(xp.all(xp.imag(values) == 0)):
        return found
    return type(found)(xp.real(values), xp.real(vectors))


@counterpart("linalg.eigvals")
def eigvals(xp: Any, a: Array) -> Any:
    values = xp.linalg.eigvals(a)
    return xp.real(values) if kind(a) < 2 and bool(xp.all(xp.imag(values) == 0)) else values


@counterpart("linalg.svd")
def svd(
    xp: Any, a: Array, full_matrices: bool = True, compute_uv: bool = True, hermitian: bool = False
) -> Any:
    return xp.linalg.svd(a, full_matrices=full_matrices) if compute_uv else xp.linalg.svdvals(a)


@counterpart("linalg.qr")
def qr(xp: Any, a: Array, mode: str = "reduced") -> Any:
    if mode not in ("reduced", "complete", "r"):
        raise NoCounterpartError(f"np.linalg.qr: mode={mode!r} has no counterpart on tensors; use 'reduced'")
    return xp.linalg.qr(a)[1] if mode == "r" else xp.linalg.qr(a, mode=mode)


@counterpart("linalg.pinv")
def pinv(xp: Any, a: Array, rcond: Any = None, hermitian: bool = False, rtol: Any = None) -> Any:
    return xp.linalg.pinv(
        a, rtol=1e-15 if rcond is None and rtol is None else rcond if rtol is None else rtol
    )


@counterpart("linalg.matrix_rank")
def matrix_rank(xp: Any, A: Array, tol: Any = None, hermitian: bool = False, rtol: Any = None) -> Any:
    if tol is None:
        return xp.linalg.matrix_rank(A, rtol=rtol)
    return xp.count_nonzero(xp.linalg.svdvals(A) > tol, axis=-1)


@counterpart("linalg.lstsq")
def lstsq(xp: Any, a: Array, b: Array, rcond: float | None = None) -> tuple[Any, Any, Any, Any]:
    m, n = a.shape
    rtol = xp.finfo(a.dtype).eps * max(m, n) if rcond is None else rcond
    s = xp.linalg.svdvals(a)
    rank = int(xp.count_nonzero(s > rtol * s[0]))
    x = xp.matmul(xp.linalg.pinv(a, rtol=rtol), b)
    rest = xp.abs(b - xp.matmul(a, x)) ** 2
    residuals = xp.sum(xp.reshape(rest, (m, -1)), axis=0)
    return x, residuals if rank == n < m else residuals[:0], rank, s


@counterpart("linalg.multi_dot")
def multi_dot(xp: Any, arrays: Arrays) -> Any:
    return functools.reduce(xp.matmul, arrays)


@counterpart("linalg.tensorsolve")
def tensorsolve(xp: Any, a: Array, b: Array, axes: Any = None) -> Any:
    if axes is not None:
        axes = [i % a.ndim for i in ([axes] if isinstance(axes, int) else axes)]
        a = transpose(xp, a, [*[i for i in range(a.ndim) if i not in axes], *axes])
    shape = tuple(a.shape[b.ndim :])
    x = xp.linalg.solve(xp.reshape(a, (-1, math.prod(shape))), xp.reshape(b, (-1,)))
    return xp.reshape(x, shape)


@counterpart("linalg.tensorinv")
def tensorinv(xp: Any, a: Array, ind: int = 2) -> Any:
    rows = math.prod(a.shape[:ind])
    return xp.reshape(xp.linalg.inv(xp.reshape(a, (rows, -1))), (*a.shape[ind:], *a.shape[:ind]))


# Fourier transforms of two axes


@counterpart("fft.fft2")
def fft2(xp: Any, a: Array, s: Any = None, axes: Any = (-2, -1), **rest: Any) -> Any:
    return np.fft.fftn(a, s=s, axes=axes, **rest)


@counterpart("fft.ifft2")
def ifft2(xp: Any, a: Array, s: Any = None, axes: Any = (-2, -1), **rest: Any) -> Any:
    return np.fft.ifftn(a, s=s, axes=axes, **rest)


@counterpart("fft.rfft2")
def rfft2(xp: Any, a: Array, s: Any = None, axes: Any = (-2, -1), **rest: Any) -> Any:
    return xp.fft.rfftn(a, s=s, axes=axes, **rest)


@counterpart("fft.irfft2")
def irfft2(xp: Any, a: Array, s: Any = None, axes: Any = (-2, -1), **rest: Any) -> Any:
    return np.fft.irfftn(a, s=s, axes=axes, **rest)
