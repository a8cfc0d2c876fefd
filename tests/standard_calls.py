"""One small call or more for every function of the array API standard (2025.12) that takes arrays."""

from typing import Any, NamedTuple

import numpy as np

from portagrad.backend import Backend


class Call(NamedTuple):
    """Arguments of one call; NumPy arrays and `Dtype` stand for those of any library."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]


class Dtype(str):
    """A dtype by the standard's name."""


CALLS: dict[str, list[Call]] = {}
"""Calls by the function's qualified name (``"sin"``, ``"linalg.svd"``)."""


def on(backend: Backend, device: Any, value: Any) -> Any:
    """An argument written with NumPy's arrays, for another library and device."""
    if isinstance(value, Dtype):
        return getattr(backend.xp, value)
    if isinstance(value, np.ndarray):
        return backend.from_numpy(value, device)
    if isinstance(value, tuple | list):
        return type(value)(on(backend, device, part) for part in value)
    if isinstance(value, dict):
        return {key: on(backend, device, part) for key, part in value.items()}
    return value


def _call(*args: Any, **kwargs: Any) -> Call:
    return Call(args, kwargs)


def _sample(names: str, *calls: Call) -> None:
    for name in names.split():
        CALLS.setdefault(name, []).extend(calls)


A = np.asarray
f64, f32, i32, c64 = Dtype("float64"), Dtype("float32"), Dtype("int32"), Dtype("complex64")
x = A([[0.5, -1.25, 2.0], [0.25, 3.0, -0.75]])
y = A([[1.5, 0.5, -2.0], [0.5, 1.0, 2.0]])
z = x + 1j * y
s = x.astype("float32")
v = A([0.5, -1.0, 2.0])
p = A([0.25, 0.5, 0.75])
scalar = A(2.5)
empty = np.zeros((0, 3))
cube = np.arange(24.0).reshape(2, 3, 4)
i = A([[3, -1, 2], [0, 5, -4]])
u = A([3, 1, 2])
u1, i2 = u.astype("uint8"), u.astype("int16")
b = A([[True, False, True], [False, True, True]])
edge = A([0.0, -0.0, np.inf, -np.inf, np.nan, 1.0])
m = A([[4.0, 1.0, 0.0], [1.0, 3.0, 1.0], [0.0, 1.0, 2.0]])
stack = np.stack([m, m + np.eye(3)])

# Elementwise
_sample("abs negative positive square sign", *map(_call, (x, z, s, scalar, empty, i)))
_sample("acos asin atanh", _call(p), _call(z), _call(p.astype("float32")))
_sample("acosh", _call(A([1.0, 2.0, 3.5])), _call(z))
_sample("asinh atan cos cosh exp expm1 sin sinh tan tanh log1p", *map(_call, (p, z, s / 4, scalar)))
_sample("sqrt log log2 log10 reciprocal", _call(p), _call(z))
_sample("ceil floor trunc round", _call(x), _call(i), _call(s))
_sample("conj imag real", _call(z))
_sample("conj real", _call(x))
_sample("isfinite isinf isnan", _call(edge), _call(i), _call(z))
_sample("signbit", _call(edge))
_sample("logical_not", _call(b))
_sample(
    "add subtract multiply divide maximum minimum hypot copysign logaddexp atan2 nextafter equal not_equal "
    "remainder floor_divide less less_equal greater greater_equal",
    *(_call(x, y), _call(x, v), _call(scalar, x), _call(x, 2.0), _call(2.0, x), _call(s, 2.0), _call(s, s)),
)
_sample("add subtract multiply divide equal not_equal", _call(z, z), _call(z, 2.0), _call(z, 2j), _call(s, 2))
_sample("add subtract multiply equal not_equal maximum minimum", _call(i, u), _call(i, 2), _call(2, i))
_sample("remainder floor_divide less greater_equal", _call(i, u), _call(i, 2))
_sample(
    "pow", *(_call(x * x, y), _call(x, 2), _call(2.0, x), _call(s, 2), _call(i, 2), _call(u, u), _call(z, z))
)
_sample(
    "bitwise_and bitwise_or bitwise_xor", _call(i, u), _call(b, b), _call(i, 1), _call(1, i), _call(b, True)
)
_sample("bitwise_left_shift bitwise_right_shift", _call(u, u), _call(u, 1), _call(1, u))
_sample("bitwise_invert", _call(i), _call(b))
_sample("logical_and logical_or logical_xor", _call(b, b), _call(b, True), _call(False, b))
_sample("clip", _call(x), _call(x, -1.0, 1.0), _call(x, min=0.0), _call(x, max=0), _call(s, -1, 1))
_sample("clip", _call(x, -abs(y), abs(y)), _call(i, 0, 2), _call(x, None, 1.0), _call(x, v, max=2.0))

# Statistical and utility
_sample(
    "sum prod mean std var max min",
    *(_call(cube), _call(cube, axis=1), _call(cube, axis=(0, 2)), _call(cube, axis=-1, keepdims=True)),
    *(_call(s), _call(scalar), _call(x, axis=None, keepdims=True), _call(cube, axis=())),
)
_sample("sum prod max min", _call(i), _call(i, axis=0), _call(i2))
_sample("sum prod mean", _call(z), _call(z, axis=0))
_sample("sum prod", _call(x, dtype=f32), _call(i, dtype=f64, axis=0), _call(s, dtype=None), _call(u1))
_sample("sum prod", _call(empty), _call(empty, axis=0), _call(s, dtype=f64, axis=(0, 1), keepdims=True))
_sample(
    "std var",
    _call(cube, correction=1),
    _call(s, axis=0, correction=0.5),
    _call(x, axis=(0, 1), keepdims=True),
)
_sample("cumulative_sum cumulative_prod", _call(v), _call(x, axis=1), _call(x, axis=0, include_initial=True))
_sample("cumulative_sum cumulative_prod", _call(i2), _call(u1), _call(s, axis=0, dtype=f64))
_sample(
    "all any", _call(b), _call(b, axis=0), _call(b, axis=(0, 1), keepdims=True), _call(x), _call(b, axis=())
)
_sample("diff", _call(x), _call(x, axis=0), _call(x, n=2), _call(x, n=0), _call(i), _call(z))
_sample("diff", _call(x, axis=1, prepend=A([[0.0], [1.0]])), _call(x, append=A([[0.0], [1.0]]), n=2))

# Manipulation
_sample("broadcast_arrays", _call(x, v), _call(scalar, x), _call(x))
_sample("broadcast_shapes", _call((2, 1), (3,)), _call((2,), ()))
_sample("broadcast_to", _call(v, (2, 3)), _call(scalar, (2, 2)), _call(empty, (2, 0, 3)))
_sample(
    "concat", _call((x, y)), _call((x, y), axis=1), _call((x, v), axis=None), _call([x, s]), _call((empty, x))
)
_sample("expand_dims", _call(x, axis=0), _call(x, axis=-1), _call(x, axis=(0, 2)))
_sample("flip", _call(x), _call(x, axis=0), _call(cube, axis=(0, -1)), _call(scalar))
_sample("moveaxis", _call(cube, 0, -1), _call(cube, (0, 1), (2, 0)))
_sample("permute_dims", _call(cube, (2, 0, 1)))
_sample("matrix_transpose linalg.matrix_transpose", _call(cube), _call(z))
_sample("repeat", _call(x, 2), _call(x, 2, axis=1), _call(x, A([1, 2]), axis=0), _call(v, A([0, 1, 2])))
_sample("reshape", _call(x, (3, 2)), _call(x, (-1,)), _call(x, (6,), copy=True), _call(empty, (3, 0)))
_sample("roll", _call(x, 1), _call(x, (1, 2), axis=(0, 1)), _call(x, -1, axis=1))
_sample("squeeze", _call(x[None], 0), _call(x[None, :, None], (0, -2)), _call(scalar, ()))
_sample("stack", _call((x, y)), _call((x, y), axis=-1), _call((x, s), axis=1))
_sample("tile", _call(x, (2,)), _call(x, (2, 1, 3)), _call(scalar, (2,)))
_sample("unstack", _call(cube), _call(cube, axis=-1))

# Searching, sorting, sets, indexing
_sample("argmax argmin", _call(x), _call(x, axis=1), _call(x, axis=0, keepdims=True), _call(x, keepdims=True))
_sample("argmax argmin", _call(i), _call(scalar))
_sample("count_nonzero", _call(x), _call(b, axis=0), _call(i, axis=(0, 1), keepdims=True))
_sample("nonzero", _call(i), _call(b))
_sample(
    "searchsorted", _call(p, x), _call(p, v, side="right"), _call(A([2.0, 0.0, 1.0]), v, sorter=A([1, 2, 0]))
)
_sample("where", _call(b, x, y), _call(b, x, 0.0), _call(b, 1.0, x), _call(b, i, 2), _call(b, s, 0.0))
_sample("where", _call(b, z, 0.0), _call(A(True), x, v), _call(b, scalar, v))
_sample("sort argsort", _call(x), _call(x, axis=0), _call(x, descending=True), _call(i, stable=True, axis=0))
_sample("isin", _call(i, u), _call(i, u, invert=True), _call(i, 2))
_sample("unique_all unique_counts unique_inverse unique_values", _call(A([3, 1, 2, 1])), _call(x))
_sample("take", _call(x, A([0, 2, 0]), axis=1), _call(v, A([1, 1])), _call(x, A([1]), axis=-2))
_sample("take_along_axis", _call(x, A([[0, 2], [1, 1]]), axis=1), _call(x, A([[1, 0, 1]]), axis=0))

# Creation and dtypes: explicit dtypes, for the default one is the library's choice
_sample("arange", _call(5), _call(1, 7, 2), _call(0, 1, 0.25, dtype=f64), _call(5, 0, -2), _call(1, stop=4))
_sample("asarray", _call(x), _call(2.5, dtype=f64), _call([[1, 2], [3, 4]], dtype=f32), _call(x, copy=True))
_sample("empty zeros ones", _call(3, dtype=f64), _call((2, 3), dtype=f32), _call((), dtype=i32))
_sample("empty_like zeros_like ones_like", _call(x), _call(x, dtype=i32), _call(z))
_sample("full", _call(3, 2.0, dtype=f64), _call((2, 3), 1), _call((2,), True), _call((2,), 1j, dtype=c64))
_sample("full_like", _call(x, 2.0), _call(i, 2, dtype=f64))
_sample("eye", _call(3, dtype=f64), _call(2, 4, dtype=f64), _call(3, 4, k=-1, dtype=f32))
_sample("linspace", _call(0.0, 1.0, 5, dtype=f64), _call(0, 4, num=4, endpoint=False, dtype=f32))
_sample("meshgrid", _call(v, p), _call(v, p, indexing="ij"), _call(v))
_sample("tril triu", _call(x), _call(cube, k=1), _call(b, k=-1), _call(z))
_sample("from_dlpack", _call(x))
_sample("astype", _call(x, f32), _call(i, f64), _call(b, i32), _call(x, f64, copy=False), _call(s, c64))
_sample("can_cast", _call(f32, f64), _call(f64, f32), _call(x, f32))
_sample("isdtype", _call(f32, "real floating"), _call(i32, ("bool", "integral")), _call(c64, c64))
_sample("result_type", _call(x, s), _call(f32, f64), _call(s, 1.0), _call(z, s))
_sample("finfo", _call(f32), _call(f64), _call(c64))
_sample("iinfo", _call(i32))

# Linear algebra
_sample(
    "matmul linalg.matmul", _call(x, y.T), _call(v, m), _call(m, v), _call(v, v), _call(z, z.T), _call(i, u)
)
_sample("matmul", _call(stack, cube[:, :, :2]), _call(s, s.T), _call(empty, m))
_sample(
    "tensordot linalg.tensordot", _call(x, y), _call(x, m, axes=1), _call(cube, cube, axes=((0, 1), (0, 1)))
)
_sample("tensordot", _call(x, y, axes=0), _call(z, z))
_sample(
    "vecdot linalg.vecdot", _call(x, y), _call(x, v), _call(z, z), _call(cube, cube, axis=-2), _call(s, s)
)
_sample("linalg.cholesky", _call(m), _call(stack), _call(m, upper=True), _call(m + 0j))
_sample("linalg.cross", _call(v, p), _call(x, y), _call(x.T, y.T, axis=-2))
_sample(
    "linalg.det linalg.inv linalg.slogdet linalg.svdvals", _call(m), _call(stack), _call(m.astype("float32"))
)
_sample("linalg.pinv linalg.matrix_rank", _call(x), _call(stack), _call(x, rtol=1e-3))
_sample("linalg.pinv linalg.matrix_rank", _call(stack, rtol=A([1e-3, 1e-2])))
_sample("linalg.diagonal linalg.trace", _call(m), _call(cube, offset=1), _call(m, offset=-1))
_sample("linalg.trace", _call(m, dtype=f32), _call(i))
_sample("linalg.eigvalsh linalg.eigh", _call(m), _call(stack), _call(m + 0j))
_sample("linalg.eigvals linalg.eig", _call(m))
_sample("linalg.qr", _call(m), _call(stack), _call(x, mode="complete"), _call(x.T, mode="reduced"))
_sample("linalg.svd", _call(m), _call(stack), _call(x, full_matrices=False), _call(x, full_matrices=True))
_sample(
    "linalg.matrix_norm", _call(m), _call(stack, ord=1), _call(m, ord="nuc", keepdims=True), _call(m, ord=2)
)
_sample("linalg.matrix_norm", _call(stack, ord=-2), _call(m, ord=np.inf), _call(z), _call(m, ord=-1))
_sample("linalg.matrix_power", _call(m, 3), _call(m, 0), _call(stack, -1))
_sample("linalg.outer", _call(v, p), _call(z[0], v + 0j))
_sample("linalg.solve", _call(m, v), _call(m, m), _call(stack, stack), _call(stack, v), _call(stack, m))
_sample(
    "linalg.vector_norm", _call(x), _call(x, axis=0), _call(x, axis=(0, 1), keepdims=True), _call(x, ord=1)
)
_sample("linalg.vector_norm", _call(x, ord=np.inf, axis=-1), _call(x, ord=0), _call(x, ord=3.5), _call(z))

# Fourier transforms
_sample("fft.fft fft.ifft", _call(z), _call(z, n=4, axis=0), _call(z, n=2, norm="forward"))
_sample(
    "fft.fftn fft.ifftn", _call(z), _call(cube + 0j, axes=(0, 1)), _call(cube + 0j, s=(2, 2), axes=(0, 2))
)
_sample("fft.rfft fft.ihfft", _call(x), _call(x, n=4, norm="ortho"), _call(s))
_sample("fft.rfftn", _call(cube), _call(cube, s=(2, 2), axes=(0, 2)))
_sample("fft.irfft fft.hfft", _call(z), _call(z, n=5))
_sample("fft.irfftn", _call(z), _call(z, s=(2, 3), axes=(0, 1)))
_sample("fft.fftfreq fft.rfftfreq", _call(5, dtype=f64), _call(6, d=0.5, dtype=f64))
_sample("fft.fftshift fft.ifftshift", _call(x), _call(cube, axes=(0,)), _call(cube, axes=1))
