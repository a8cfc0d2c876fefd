"""ONNX's counterparts of elementwise ops, each in the numbers that portagrad's has."""

from __future__ import annotations

import math
from typing import Any

from portagrad.onnx.lowering import LOWERINGS, alike, lowers
from portagrad.onnx.writer import BOOL, Lowering, Value, Writer

_SAME = (
    *("abs", "acos", "acosh", "asin", "asinh", "atan", "atanh", "ceil", "cos", "cosh", "exp", "floor", "log"),
    *("reciprocal", "relu", "round", "sigmoid", "sign", "sin", "sinh", "softplus", "sqrt", "tan", "tanh"),
)
UNARY = {
    **{name: name.capitalize() for name in _SAME},
    "negative": "Neg",
    "special.erf": "Erf",
    "special.expit": "Sigmoid",
    "logical_not": "Not",
    "isnan": "IsNaN",
    "isinf": "IsInf",
    "positive": "Identity",
    "conj": "Identity",
    "real": "Identity",
    "to_device": "Identity",
}
"""One ONNX op, of one argument."""

ARITHMETIC = {
    "add": "Add",
    "subtract": "Sub",
    "multiply": "Mul",
    "divide": "Div",
    "pow": "Pow",
    "maximum": "Max",
    "minimum": "Min",
}
LOGIC = {"and": "And", "or": "Or", "xor": "Xor"}
COMPARISONS = {
    "equal": "Equal",
    "greater": "Greater",
    "greater_equal": "GreaterOrEqual",
    "less": "Less",
    "less_equal": "LessOrEqual",
}


def _unary(op_type: str) -> Lowering:
    def lower(w: Writer, out: Value, x: Value, **_: Any) -> Value:
        return w.emit(op_type, x, dtype=out.dtype)

    return lower


def _binary(op_type: str) -> Lowering:
    def lower(w: Writer, out: Value, a: Value, b: Value) -> Value:
        return w.emit(op_type, w.cast(a, out.dtype), w.cast(b, out.dtype))

    return lower


def _logic(op_type: str) -> Lowering:
    """Of booleans the bitwise op is the logical one."""

    def lower(w: Writer, out: Value, a: Value, b: Value) -> Value:
        prefix = "" if out.dtype == BOOL else "Bitwise"
        return w.emit(prefix + op_type, w.cast(a, out.dtype), w.cast(b, out.dtype))

    return lower


def _comparison(op_type: str) -> Lowering:
    def lower(w: Writer, out: Value, a: Value, b: Value) -> Value:
        return w.emit(op_type, *alike(w, a, b), dtype=BOOL)

    return lower


LOWERINGS |= {name: _unary(op_type) for name, op_type in UNARY.items()}
LOWERINGS |= {name: _binary(op_type) for name, op_type in ARITHMETIC.items()}
LOWERINGS |= {
    f"{kind}_{name}": _logic(op_type) for name, op_type in LOGIC.items() for kind in ("logical", "bitwise")
}
LOWERINGS |= {name: _comparison(op_type) for name, op_type in COMPARISONS.items()}


def _number(w: Writer, x: Value, number: float) -> Value:
    return w.constant(number, x.dtype)


@lowers("not_equal")
def _not_equal(w: Writer, out: Value, a: Value, b: Value) -> Value:
    return w.emit("Not", w.emit("Equal", *alike(w, a, b), dtype=BOOL))


@lowers("bitwise_invert")
def _invert(w: Writer, out: Value, x: Value) -> Value:
    return w.emit("Not" if out.dtype == BOOL else "BitwiseNot", x)


@lowers("square")
def _square(w: Writer, out: Value, x: Value) -> Value:
    return w.emit("Mul", x, x)


@lowers("log2")
def _log2(w: Writer, out: Value, x: Value) -> Value:
    return w.emit("Div", w.emit("Log", x), _number(w, x, math.log(2)))


@lowers("log10")
def _log10(w: Writer, out: Value, x: Value) -> Value:
    return w.emit("Div", w.emit("Log", x), _number(w, x, math.log(10)))


@lowers("expm1")
def _expm1(w: Writer, out: Value, x: Value) -> Value:
    """``2 tanh(x/2) / (1 - tanh(x/2))`` near 0, where ``exp(x) - 1`` would lose the digits."""
    t = w.emit("Tanh", w.emit("Mul", x, _number(w, x, 0.5)))
    small = w.emit("Div", w.emit("Mul", t, _number(w, x, 2)), w.emit("Sub", _number(w, x, 1), t))
    large = w.emit("Sub", w.emit("Exp", x), _number(w, x, 1))
    near = w.emit("Less", w.emit("Abs", x), _number(w, x, 0.5), dtype=BOOL)
    return w.emit("Where", near, small, large, dtype=x.dtype)


@lowers("log1p")
def _log1p(w: Writer, out: Value, x: Value) -> Value:
    """``x log(u) / (u - 1)`` with u = 1 + x rounded, and x itself where u is 1.

    Goldberg (1991), "What every computer scientist should know about floating-point arithmetic", theorem 4.
    """
    one = _number(w, x, 1)
    u = w.emit("Add", x, one)
    step = w.emit("Sub", u, one)
    tiny = w.emit("Equal", u, one, dtype=BOOL)
    safe = w.emit("Where", tiny, one, step, dtype=x.dtype)
    scaled = w.emit("Mul", w.emit("Log", u), w.emit("Div", x, safe))
    infinite = w.emit("IsInf", x, dtype=BOOL)
    scaled = w.emit("Where", infinite, w.emit("Log", u), scaled, dtype=x.dtype)
    return w.emit("Where", tiny, x, scaled, dtype=x.dtype)


@lowers("trunc")
def _trunc(w: Writer, out: Value, x: Value) -> Value:
    return w.emit("Mul", w.emit("Sign", x), w.emit("Floor", w.emit("Abs", x)))


@lowers("isfinite")
def _isfinite(w: Writer, out: Value, x: Value) -> Value:
    """The difference of a number and itself is 0, of an infinity or a NaN it is NaN."""
    return w.emit("Not", w.emit("IsNaN", w.emit("Sub", x, x), dtype=BOOL))


@lowers("signbit")
def _signbit(w: Writer, out: Value, x: Value) -> Value:
    """Of a negative zero, the reciprocal is negative."""
    zero = _number(w, x, 0)
    below = w.emit("Less", x, zero, dtype=BOOL)
    at_zero = w.emit("Equal", x, zero, dtype=BOOL)
    behind = w.emit("Less", w.emit("Div", _number(w, x, 1), x), zero, dtype=BOOL)
    return w.emit("Or", below, w.emit("And", at_zero, behind))


@lowers("copysign")
def _copysign(w: Writer, out: Value, a: Value, b: Value) -> Value:
    size = w.emit("Abs", w.cast(a, out.dtype))
    return w.emit("Where", _signbit(w, out, b), w.emit("Neg", size), size, dtype=out.dtype)


@lowers("hypot")
def _hypot(w: Writer, out: Value, a: Value, b: Value) -> Value:
    """The larger times ``sqrt(1 + r^2)``, which does not overflow."""
    a, b = (w.emit("Abs", w.cast(x, out.dtype)) for x in (a, b))
    large, small = w.emit("Max", a, b), w.emit("Min", a, b)
    zero, one = _number(w, large, 0), _number(w, large, 1)
    divisor = w.emit("Where", w.emit("Equal", large, zero, dtype=BOOL), one, large, dtype=out.dtype)
    ratio = w.emit("Div", small, divisor)
    return w.emit("Mul", large, w.emit("Sqrt", w.emit("Add", one, w.emit("Mul", ratio, ratio))))


@lowers("atan2")
def _atan2(w: Writer, out: Value, y: Value, x: Value) -> Value:
    y, x = w.cast(y, out.dtype), w.cast(x, out.dtype)
    zero = _number(w, x, 0)
    at_zero = w.emit("Equal", x, zero, dtype=BOOL)
    level = w.emit("Equal", y, zero, dtype=BOOL)
    both = w.emit("And", at_zero, level)
    angle = w.emit("Atan", w.emit("Div", y, w.emit("Where", both, _number(w, x, 1), x, dtype=x.dtype)))
    half = _copysign(w, out, w.constant(math.pi, x.dtype), y)
    turned = w.emit("Add", angle, half)
    behind = _signbit(w, out, x)
    # Of x = 0 the quotient is infinite and its arctangent right, but for the side that a -0.0 is on.
    angle = w.emit("Where", w.emit("And", behind, w.emit("Not", at_zero)), turned, angle, dtype=x.dtype)
    quarter = w.emit("Mul", half, _number(w, x, 0.5))
    angle = w.emit("Where", w.emit("And", at_zero, w.emit("Not", level)), quarter, angle, dtype=x.dtype)
    flat = w.emit("Where", behind, half, _copysign(w, out, w.constant(0, x.dtype), y), dtype=x.dtype)
    return w.emit("Where", both, flat, angle, dtype=x.dtype)


@lowers("logaddexp")
def _logaddexp(w: Writer, out: Value, a: Value, b: Value) -> Value:
    a, b = w.cast(a, out.dtype), w.cast(b, out.dtype)
    gap = w.emit("Neg", w.emit("Abs", w.emit("Sub", a, b)))
    top = w.emit("Max", a, b)
    same = w.emit("Equal", a, b, dtype=BOOL)  # also two infinities, whose difference is NaN
    more = _log1p(w, out, w.emit("Exp", gap))
    return w.emit(
        "Add", top, w.emit("Where", same, w.constant(math.log(2), out.dtype), more, dtype=out.dtype)
    )


@lowers("clip")
def _clip(w: Writer, out: Value, x: Value, low: Value | None = None, high: Value | None = None) -> Value:
    for op_type, bound in (("Max", low), ("Min", high)):
        if bound is not None:
            x = w.emit(op_type, x, w.cast(bound, out.dtype))
    return x


@lowers("floor_divide")
def _floor_divide(w: Writer, out: Value, a: Value, b: Value) -> Value:
    """ONNX divides whole numbers towards 0; where the signs differ and a rest is left, one less."""
    a, b = w.cast(a, out.dtype), w.cast(b, out.dtype)
    if out.dtype.kind == "f":
        # The rest first: a quotient may round to the next whole number.
        rest = _remainder(w, out, a, b)
        return w.emit("Round", w.emit("Div", w.emit("Sub", a, rest), b))
    return w.emit("Div", w.emit("Sub", a, w.emit("Mod", a, b)), b)


@lowers("remainder")
def _remainder(w: Writer, out: Value, a: Value, b: Value) -> Value:
    """Of the divisor's sign; C's ``fmod`` has the dividend's."""
    a, b = w.cast(a, out.dtype), w.cast(b, out.dtype)
    if out.dtype.kind != "f":
        return w.emit("Mod", a, b)
    rest = w.emit("Mod", a, b, fmod=1)
    zero = _number(w, rest, 0)
    differ = w.emit("Less", w.emit("Mul", w.emit("Sign", rest), w.emit("Sign", b)), zero, dtype=BOOL)
    return w.emit("Where", differ, w.emit("Add", rest, b), rest, dtype=out.dtype)


@lowers("where")
def _where(w: Writer, out: Value, condition: Value, a: Value, b: Value) -> Value:
    chosen = w.cast(condition, BOOL)
    return w.emit("Where", chosen, w.cast(a, out.dtype), w.cast(b, out.dtype), dtype=out.dtype)


@lowers("gate")
def _gate(w: Writer, out: Value, x: Value, on: Value) -> Value:
    """`x` where `on` is above 0, else 0."""
    lit = w.emit("Greater", on, _number(w, on, 0), dtype=BOOL)
    return w.emit("Where", lit, x, _number(w, x, 0), dtype=x.dtype)


@lowers("astype")
def _astype(w: Writer, out: Value, x: Value, **_: Any) -> Value:
    return w.cast(x, out.dtype)


@lowers("bitwise_left_shift")
def _left_shift(w: Writer, out: Value, a: Value, b: Value) -> Value:
    """Times a power of 2, which for whole numbers with a sign ONNX has no shift for."""
    a, b = w.cast(a, out.dtype), w.cast(b, out.dtype)
    if out.dtype.kind == "u":
        return w.emit("BitShift", a, b, direction="LEFT")
    return w.emit("Mul", a, w.emit("Pow", w.constant(2, out.dtype), b))


@lowers("bitwise_right_shift")
def _right_shift(w: Writer, out: Value, a: Value, b: Value) -> Value:
    a, b = w.cast(a, out.dtype), w.cast(b, out.dtype)
    if out.dtype.kind == "u":
        return w.emit("BitShift", a, b, direction="RIGHT")
    return _floor_divide(w, out, a, w.emit("Pow", w.constant(2, out.dtype), b))
