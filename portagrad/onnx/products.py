"""ONNX's counterparts of products of matrices, and of what networks are made of."""

from __future__ import annotations

import string
from typing import Any

import numpy as np

from portagrad.onnx.lowering import length_of, lowers
from portagrad.onnx.writer import INT64, Value, Writer


@lowers("matmul")
def _matmul(w: Writer, out: Value, a: Value, b: Value) -> Value:
    return w.emit("MatMul", w.cast(a, out.dtype), w.cast(b, out.dtype))


@lowers("linear")
def _linear(w: Writer, out: Value, x: Value, weight: Value, bias: Value | None = None) -> Value:
    x, weight = w.cast(x, out.dtype), w.cast(weight, out.dtype)
    if bias is not None and len(x.dims) == 2 and len(bias.dims) == 1:
        return w.emit("Gemm", x, weight, w.cast(bias, out.dtype))
    y = w.emit("MatMul", x, weight)
    return y if bias is None else w.emit("Add", y, w.cast(bias, out.dtype))


@lowers("tensordot")
def _tensordot(w: Writer, out: Value, a: Value, b: Value, *, axes: Any = 2) -> Value:
    n, m = len(a.dims), len(b.dims)
    left, right = (range(n - axes, n), range(axes)) if isinstance(axes, int) else axes
    letters = iter(string.ascii_letters)
    mine, theirs = [next(letters) for _ in range(n)], [next(letters) for _ in range(m)]
    for i, j in zip(left, right, strict=True):
        theirs[j % m] = mine[i % n]
    summed = {mine[i % n] for i in left}
    kept = [letter for letter in (*mine, *theirs) if letter not in summed]
    equation = f"{''.join(mine)},{''.join(theirs)}->{''.join(kept)}"
    return w.emit("Einsum", w.cast(a, out.dtype), w.cast(b, out.dtype), equation=equation)


@lowers("linalg.cross")
def _cross(w: Writer, out: Value, a: Value, b: Value, *, axis: int = -1) -> Value:
    """``a[i+1] b[i+2] - a[i+2] b[i+1]``, indices modulo 3."""

    def turned(x: Value, by: int) -> Value:
        rolled = [(i + by) % 3 for i in range(3)]
        return w.emit("Gather", w.cast(x, out.dtype), w.constant(rolled, INT64), axis=axis % len(x.dims))

    first = w.emit("Mul", turned(a, 1), turned(b, 2))
    return w.emit("Sub", first, w.emit("Mul", turned(a, 2), turned(b, 1)))


@lowers("linalg.det")
def _det(w: Writer, out: Value, x: Value) -> Value:
    return w.emit("Det", x)


@lowers("softmax")
def _softmax(w: Writer, out: Value, x: Value, *, axis: int = -1) -> Value:
    return w.emit("Softmax", x, axis=axis)


@lowers("log_softmax")
def _log_softmax(w: Writer, out: Value, x: Value, *, axis: int = -1) -> Value:
    return w.emit("LogSoftmax", x, axis=axis)


@lowers("layer_norm")
def _layer_norm(
    w: Writer,
    out: Value,
    x: Value,
    weight: Value | None = None,
    bias: Value | None = None,
    *,
    eps: float = 1e-5,
) -> Value:
    scale = weight or w.constant(np.ones(length_of(x, -1, "layer_norm"), x.dtype))
    given = [w.cast(part, out.dtype) for part in (x, scale, *([bias] if bias is not None else []))]
    return w.emit("LayerNormalization", *given, axis=-1, epsilon=eps)
