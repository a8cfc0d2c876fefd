"""NumPy's own calls where they are faster than its namespace's functions or the plain forward."""

import functools
import operator
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy

from portagrad_numpy import mkl, special
from portagrad_numpy.triangular import solve_triangular

# NumPy's types for these know a literal `keepdims` only.
_add: Any = numpy.add
_maximum: Any = numpy.maximum
_minimum: Any = numpy.minimum


def _sum(x: Any, *, axis: Any = None, dtype: Any = None, keepdims: bool = False) -> Any:
    return _add.reduce(x, axis=axis, dtype=dtype, keepdims=keepdims)


def _mean(x: Any, *, axis: Any = None, keepdims: bool = False) -> Any:
    if not x.ndim and axis not in (None, ()):  # `reduce` takes 0 and -1 for axes of a number
        raise numpy.exceptions.AxisError(axis, 0)
    total = _add.reduce(x, axis=axis, keepdims=keepdims)
    return total / (x.size // total.size if total.size else 1)


def _max(x: Any, *, axis: Any = None, keepdims: bool = False) -> Any:
    return _maximum.reduce(x, axis=axis, keepdims=keepdims)


def _min(x: Any, *, axis: Any = None, keepdims: bool = False) -> Any:
    return _minimum.reduce(x, axis=axis, keepdims=keepdims)


def _matmul(x1: Any, x2: Any) -> Any:
    """Of two matrices by `dot`, which calls BLAS at less expense than `matmul`."""
    if x1.ndim == 2 == x2.ndim:
        return x1.dot(x2) if x1.size * x2.shape[1] < mkl.LEAST else mkl.dot(x1, x2)
    return numpy.matmul(x1, x2)


def _astype(x: Any, dtype: Any, *, copy: bool = True, device: Any = None) -> Any:
    return x.astype(dtype, copy=copy)


def _asarray(obj: Any, *, dtype: Any = None, device: Any = None, copy: bool | None = None) -> Any:
    return numpy.array(obj, dtype=dtype) if copy else numpy.asarray(obj, dtype=dtype, copy=copy)


def _zeros_like(x: Any, *, dtype: Any = None, device: Any = None) -> Any:
    return numpy.zeros(x.shape, x.dtype if dtype is None else dtype)


def _ones(shape: Any, *, dtype: Any = None, device: Any = None) -> Any:
    return numpy.ones(shape, dtype)


def _zeros(shape: Any, *, dtype: Any = None, device: Any = None) -> Any:
    return numpy.zeros(shape, dtype)


def _reshape(x: Any, shape: tuple[int, ...], *, copy: bool | None = None) -> Any:
    return x.reshape(shape) if copy is None else x.reshape(shape, copy=copy)


def _scatter(x: Any, *, key: Any, shape: tuple[int, ...]) -> Any:
    out = numpy.zeros(shape, x.dtype)
    parts = key if isinstance(key, tuple) else (key,)
    if any(isinstance(k, numpy.ndarray | list) for k in parts):
        numpy.add.at(out, key, x)
    else:
        out[key] = x
    return out


def _linear(x: Any, w: Any, b: Any = None) -> Any:
    y = _matmul(x, w)
    if b is None:
        return y
    if isinstance(y, numpy.ndarray) and b.dtype == y.dtype and b.ndim <= y.ndim:
        y += b
        return y
    return y + b


def _relu(x: Any) -> Any:
    return numpy.maximum(x, 0)


class _Zero(dict[Any, Any]):
    """By dtype, 0 as an array: NumPy compares with it in half the time that a number takes."""

    def __missing__(self, dtype: Any) -> Any:
        self[dtype] = zero = numpy.zeros((), dtype)
        return zero


_ZERO = _Zero()


def _gate(x: Any, y: Any) -> Any:
    """A product with the mask: an eighth of the time of `where`; an infinite `x` gives NaN where `y` is 0."""
    return x * (y > _ZERO[y.dtype])


_UNSIGNED = {numpy.dtype(f"{kind}{size}"): numpy.dtype(f"u{size}") for kind in "iu" for size in (1, 2, 4, 8)}


class _Batch(NamedTuple):
    """What is the same for all batches of one size. Arrays: NumPy takes them in half the time of numbers."""

    axis: int
    stride: Any
    starts: Any
    count: Any
    share: Any


@functools.lru_cache(maxsize=8)  # a run has two sizes of batches
def _batch(n: int, classes: int, dtype: Any) -> _Batch:
    """Of few classes their axis comes first: NumPy reduces a short last axis by rows, a first in whole rows.

    The flat place of a label is its multiple of `stride` and its entry of `starts`.
    """
    axis = 0 if 2 * classes <= n else 1
    starts = numpy.arange(n) if axis == 0 else numpy.arange(0, n * classes, classes)
    stride = numpy.asarray(n if axis == 0 else 1)
    count = numpy.asarray(n or 1, dtype)
    return _Batch(axis, stride, starts, count, numpy.asarray(1 / count))


def _exponentials(logits: Any, labels: Any) -> tuple[_Batch, Any, Any, Any]:
    """The batch, exp(logits - max), the flat places of the labels, the shifted logits there."""
    shape = logits.shape
    unsigned = _UNSIGNED.get(labels.dtype)
    if unsigned is None or labels.shape != shape[:-1] or not shape:
        raise ValueError(
            f"cross_entropy: logits of shape {shape} need integer labels of shape {shape[:-1]}, "
            f"not {labels.dtype} {labels.shape}"
        )
    if len(shape) != 2:
        logits, labels = logits.reshape((-1, shape[-1])), labels.reshape(-1)
    n, classes = logits.shape
    # What is negative is too large as an unsigned number.
    if n and _maximum.reduce(labels.view(unsigned)) >= classes:
        raise IndexError(f"cross_entropy: labels must lie between 0 and {classes - 1}, the last class")
    batch = _batch(n, classes, logits.dtype)
    places = labels.astype(numpy.intp, copy=False) * batch.stride
    places += batch.starts
    if batch.axis == 0:
        e = logits.T.copy()
        e -= _maximum.reduce(e)
    else:
        e = numpy.subtract(logits, _maximum.reduce(logits, 1, None, None, True), order="C")
    picked = e.take(places)
    return batch, numpy.exp(e, e), places, picked


def _lost(total: Any, picked: Any, batch: _Batch) -> Any:
    lost = numpy.log(total, total)
    lost -= picked
    return _add.reduce(lost) / batch.count


def _cross_entropy(logits: Any, labels: Any) -> Any:
    batch, e, _, picked = _exponentials(logits, labels)
    return _lost(_add.reduce(e, batch.axis), picked, batch)


def _cross_entropy_and_slope(logits: Any, labels: Any) -> tuple[Any, Any]:
    """The loss and its slope share the exponentials."""
    batch, e, places, picked = _exponentials(logits, labels)
    total = _add.reduce(e, batch.axis)
    e /= (total if batch.axis == 0 else total[:, None]) * batch.count
    e.reshape(-1)[places] -= batch.share
    slope = e if batch.axis else e.T
    return _lost(total, picked, batch), slope if logits.ndim == 2 else slope.reshape(logits.shape)


def _cross_entropy_slope(logits: Any, labels: Any) -> Any:
    return _cross_entropy_and_slope(logits, labels)[1]


class EigResult(NamedTuple):
    """Eigenvalues and eigenvectors."""

    eigenvalues: Any
    eigenvectors: Any


def _eig(x: Any) -> Any:
    """Complex, as the standard has it: NumPy's are real where no eigenvalue of the stack is complex."""
    values, vectors = numpy.linalg.eig(x)
    dtype = numpy.result_type(x.dtype, numpy.complex64)
    return EigResult(values.astype(dtype), vectors.astype(dtype))


def _eigvals(x: Any) -> Any:
    return numpy.linalg.eigvals(x).astype(numpy.result_type(x.dtype, numpy.complex64))


kernels: Mapping[str, Callable[..., Any]] = {
    **special.kernels,
    "asarray": _asarray,
    "astype": _astype,
    "cross_entropy": _cross_entropy,
    "cross_entropy_and_slope": _cross_entropy_and_slope,
    "cross_entropy_slope": _cross_entropy_slope,
    "gate": _gate,
    "linear": _linear,
    "linalg.eig": _eig,
    "linalg.eigvals": _eigvals,
    "linalg.solve_triangular": solve_triangular,
    "matmul": _matmul,
    "matrix_transpose": operator.attrgetter("mT"),
    "max": _max,
    "mean": _mean,
    "min": _min,
    "ones": _ones,
    "relu": _relu,
    "reshape": _reshape,
    "scatter": _scatter,
    "sum": _sum,
    "zeros": _zeros,
    "zeros_like": _zeros_like,
}
