"""What an elementwise op or a reduction is in CUDA C++, with NumPy's types and NumPy's corner cases."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy

TYPES = {
    "b1": "bool",
    "i1": "signed char",
    "i2": "short",
    "i4": "int",
    "i8": "long long",
    "u1": "unsigned char",
    "u2": "unsigned short",
    "u4": "unsigned int",
    "u8": "unsigned long long",
    "f4": "float",
    "f8": "double",
    "c8": "pg_complex<float>",
    "c16": "pg_complex<double>",
}
"""C++ types by NumPy's, kind and size in bytes. Float16 is left to CuPy."""

_ONE = (
    *("acos", "acosh", "asin", "asinh", "atan", "atanh", "cos", "cosh", "exp", "expm1", "log", "log10"),
    *("log1p", "log2", "sin", "sinh", "sqrt", "tan", "tanh"),
)
_TWO = ("atan2", "copysign", "hypot", "nextafter")
_WRAPPED = "({T})(({U}){0} %s ({U}){1})"  # signed integers wrap around, in C++ by way of unsigned ones
_COMPARED = {
    "equal": "==",
    "not_equal": "!=",
    "less": "<",
    "less_equal": "<=",
    "greater": ">",
    "greater_equal": ">=",
}
_ROUNDED = ("ceil", "floor", "trunc")

UFUNCS: dict[str, dict[str, str]] = {
    **{name: {"f": f"{name}({{0}})"} for name in _ONE},
    **{name: {"f": f"{name}({{0}}, {{1}})"} for name in _TWO},
    **{name: {"f": f"{name}({{0}})", "iub": "{0}"} for name in _ROUNDED},
    **{
        name: {("biufc" if name in ("equal", "not_equal") else "biuf"): f"{{0}} {sign} {{1}}"}
        for name, sign in _COMPARED.items()
    },
    "abs": {"f": "fabs({0})", "i": "{0} < 0 ? ({T})(-({U}){0}) : {0}", "ub": "{0}", "c": "pg_abs({0})"},
    "add": {"fc": "{0} + {1}", "iu": _WRAPPED % "+", "b": "{0} || {1}"},
    "bitwise_and": {"biu": "{0} & {1}"},
    "bitwise_invert": {"iu": "~{0}", "b": "!{0}"},
    "bitwise_left_shift": {"iu": "pg_left({0}, {1})"},
    "bitwise_or": {"biu": "{0} | {1}"},
    "bitwise_right_shift": {"iu": "pg_right({0}, {1})"},
    "bitwise_xor": {"biu": "{0} ^ {1}"},
    "conj": {"f": "{0}", "iu": "{0}", "c": "pg_conj({0})"},
    "divide": {"fc": "{0} / {1}"},
    "floor_divide": {"fiu": "pg_floor_divide({0}, {1})"},
    "isfinite": {"f": "fabs({0}) < ({T})PG_INF", "c": "pg_isfinite({0})", "biu": "true"},
    "isinf": {"f": "fabs({0}) == ({T})PG_INF", "c": "pg_isinf({0})", "biu": "false"},
    "isnan": {"f": "{0} != {0}", "c": "{0} != {0}", "biu": "false"},
    "logaddexp": {"f": "pg_logaddexp({0}, {1})"},
    "logical_and": {"b": "{0} && {1}"},
    "logical_not": {"b": "!{0}"},
    "logical_or": {"b": "{0} || {1}"},
    "logical_xor": {"b": "{0} != {1}"},
    "maximum": {"f": "{0} > {1} || {0} != {0} ? {0} : {1}", "biu": "{0} > {1} ? {0} : {1}"},
    "minimum": {"f": "{0} < {1} || {0} != {0} ? {0} : {1}", "biu": "{0} < {1} ? {0} : {1}"},
    "multiply": {"fc": "{0} * {1}", "iu": _WRAPPED % "*", "b": "{0} && {1}"},
    "negative": {"fc": "-{0}", "iu": "({T})(-({U}){0})"},
    "positive": {"fciu": "{0}"},
    "pow": {"f": "pow({0}, {1})"},
    "reciprocal": {"f": "1 / {0}"},
    "remainder": {"fiu": "pg_remainder({0}, {1})"},
    "round": {"f": "rint({0})"},
    "sign": {"fi": "{0} > 0 ? ({T})1 : {0} < 0 ? ({T})-1 : {0} == 0 ? ({T})0 : {0}", "u": "({T})({0} > 0)"},
    "signbit": {"f": "copysign(({T})1, {0}) < 0"},
    "square": {"fc": "{0} * {0}", "iu": "({T})(({U}){0} * ({U}){0})"},
    "subtract": {"fc": "{0} - {1}", "iu": _WRAPPED % "-"},
}
"""By op and by the kinds of its arguments, the expression; {T} is their type, {U} the unsigned one."""

JOINS = ("concat", "stack")
PIECES = 16
"""How many arrays a kernel joins at most."""
_SPECIAL = {"special.erf": "erf", "special.erfc": "erfc", "special.gammaln": "lgamma"}


class Expression(NamedTuple):
    """The arguments' types, to which they are cast, and what each result is of them, ``{0}``, ``{1}``, ..."""

    dtypes: tuple[Any, ...]
    texts: tuple[str, ...]


class Reduction(NamedTuple):
    """How a reduction starts, combines two values, and what it computes in."""

    start: str
    functor: str
    dtype: Any


def code(dtype: Any) -> str:
    """The key of `TYPES`."""
    return f"{dtype.kind}{dtype.itemsize}"


def ctype(dtype: Any) -> str:
    return TYPES[code(dtype)]


def known(v: Any) -> bool:
    """Whether kernels are generated for values of this dtype."""
    return code(v.dtype) in TYPES


def _is_array(a: Any) -> bool:
    return hasattr(a, "dtype")


def expression(eq: Any) -> Expression | None:
    """An elementwise equation in C++; None for what is left to the library."""
    name, out = eq.op.name, eq.outs[0]
    arrays = [a for a in eq.args if _is_array(a)]
    if not arrays or any(not known(v) for v in (*arrays, *eq.outs)):
        return None
    if name in UFUNCS and not eq.params and not (name == "round" and out.dtype.kind in "iu"):
        return _of_ufunc(eq, name)
    if name in JOINS:
        return _joined(eq)
    if any(a is None for a in eq.args) and name != "clip":
        return None
    alike = Expression((out.dtype,) * len(eq.args), ())
    match name:
        case "astype" if arrays[0].dtype.kind != "c" or out.dtype.kind == "c":
            return Expression((arrays[0].dtype,), ("{0}",))
        case "where" if all(v.dtype == out.dtype for v in arrays[1:]) or out.dtype.kind != "c":
            return Expression((numpy.dtype(bool), out.dtype, out.dtype), ("{0} ? {1} : {2}",))
        case "gate" if arrays[0].dtype == out.dtype and out.dtype.kind == "f" and _is_array(eq.args[1]):
            return Expression((out.dtype, eq.args[1].dtype), ("{1} > 0 ? {0} : 0",))
        case "clip" if arrays[0] is eq.args[0] and all(v.dtype == out.dtype for v in arrays):
            return _clipped(eq, out)
        case "real" | "imag" if arrays[0].dtype.kind == "c":
            return Expression((arrays[0].dtype,), ("{0}.re" if name == "real" else "{0}.im",))
        case "real" | "round" if arrays[0].dtype == out.dtype:
            return alike._replace(texts=("{0}",))
        case "threefry" if all(getattr(a, "dtype", numpy.dtype("int32")) == numpy.int32 for a in eq.args):
            words = [f"pg_threefry({{0}}, {{1}}, {{2}}, {{3}}, {i})" for i in range(2)]
            return Expression((out.dtype,) * 4, tuple(words))
        case _ if name in _SPECIAL and arrays[0].dtype == out.dtype and out.dtype.kind == "f":
            return alike._replace(texts=(f"{_SPECIAL[name]}({{0}})",))
    return None


def _of_ufunc(eq: Any, name: str) -> Expression | None:
    """By NumPy's own rules of promotion, Python numbers being weak."""
    if any(a is None or (isinstance(a, complex) and not _is_array(a)) for a in eq.args):
        return None
    ufunc = getattr(numpy, "rint" if name == "round" else name)
    given = [a.dtype if _is_array(a) else type(a) for a in eq.args]
    if bool in given:
        given = [numpy.dtype(bool) if t is bool else t for t in given]
    try:
        *dtypes, out = ufunc.resolve_dtypes((*given, None))
    except TypeError:
        return None
    if out != eq.outs[0].dtype or len({*dtypes}) != 1 or code(dtypes[0]) not in TYPES:
        return None
    if any(isinstance(a, int) and not _fits(a, dtypes[0]) for a in eq.args if not _is_array(a)):
        return None
    kind = dtypes[0].kind
    text = next((text for kinds, text in UFUNCS[name].items() if kind in kinds), None)
    if text is None:
        return None
    if name == "pow" and not _is_array(eq.args[1]) and eq.args[1] == 2:
        text = "{0} * {0}"
    return Expression(tuple(dtypes), (text,))


def starts(eq: Any) -> list[int]:
    """Where the pieces of a `concat` or `stack` begin along its axis."""
    axis = eq.params["axis"]
    sizes = [1 if eq.op.name == "stack" else a.shape[axis] for a in eq.args]
    return [sum(sizes[:i]) for i in range(len(sizes))]


def _joined(eq: Any) -> Expression | None:
    """Each element from the piece that its place along the axis, ``{axis}``, lies in."""
    pieces = len(eq.args)
    if eq.params.get("axis") is None or pieces > PIECES or any(not hasattr(a, "dtype") for a in eq.args):
        return None
    text = f"{{{pieces - 1}}}"
    for i, begin in reversed(list(enumerate(starts(eq)))[1:]):
        text = f"{{axis}} < {begin} ? {{{i - 1}}} : {text}"
    return Expression(tuple([a.dtype for a in eq.args]), (text,))


def _fits(a: int, dtype: Any) -> bool:
    """Whether a Python integer is one of the integer type: NumPy raises where it is not."""
    return dtype.kind not in "iu" or numpy.iinfo(dtype).min <= a <= numpy.iinfo(dtype).max


def _clipped(eq: Any, out: Any) -> Expression | None:
    if out.dtype.kind not in "fiu" or any(
        isinstance(a, float) and out.dtype.kind != "f" for a in eq.args[1:]
    ):
        return None
    text = "{0}"
    for place, name in ((1, "pg_maximum"), (2, "pg_minimum")):
        if len(eq.args) > place and eq.args[place] is not None:
            text = f"{name}({text}, {{{place}}})"
    return Expression((out.dtype,) * len(eq.args), (text,))


REDUCTIONS: dict[str, tuple[float, str]] = {
    "all": (True, "pg_and"),
    "any": (False, "pg_or"),
    "max": (-math.inf, "pg_max"),
    "mean": (0, "pg_sum"),
    "min": (math.inf, "pg_min"),
    "prod": (1, "pg_product"),
    "sum": (0, "pg_sum"),
}


def reduction(eq: Any) -> Reduction | None:
    """A reduction in C++; None for what is left to the library."""
    name, out = eq.op.name, eq.outs[0]
    if name not in REDUCTIONS or not _is_array(eq.args[0]) or not (known(eq.args[0]) and known(out)):
        return None
    x = eq.args[0]
    if not math.prod(x.shape) or (name in ("all", "any") and x.dtype.kind == "c"):
        return None
    if name in ("max", "min", "mean") and x.dtype != out.dtype:
        return None
    if (name == "mean" and out.dtype.kind not in "fc") or (x.dtype.kind == "c" and out.dtype.kind != "c"):
        return None
    if name in ("max", "min") and out.dtype.kind not in "iuf":
        return None
    start, functor = REDUCTIONS[name]
    if math.isinf(start) and out.dtype.kind != "f":
        limits = numpy.iinfo(out.dtype)
        start = limits.min if start < 0 else limits.max
    return Reduction(literal(start, out.dtype), functor, out.dtype)


def literal(value: Any, dtype: Any) -> str:
    """A number as C++ writes it, in a dtype."""
    kind = dtype.kind
    if kind == "c":
        part = numpy.dtype(f"f{dtype.itemsize // 2}")
        value = complex(value)
        return f"pg_made({literal(value.real, part)}, {literal(value.imag, part)})"
    if kind == "b":
        return "true" if value else "false"
    if kind in "iu":
        value = int(value)
        if value == -(1 << 63):
            return "(-9223372036854775807LL - 1)"
        return f"({ctype(dtype)}){value}{'ULL' if kind == 'u' else 'LL'}"
    with numpy.errstate(over="ignore"):
        number = float(dtype.type(value))
    if number != number:
        return f"({ctype(dtype)})PG_NAN"
    if math.isinf(number):
        return f"({ctype(dtype)}){'-' * (number < 0)}PG_INF"
    return f"{number!r}{'f' * (dtype.itemsize == 4)}"


def cast(text: str, given: Any, wanted: Any) -> str:
    """A value of one dtype in another."""
    if given == wanted:
        return text
    if wanted.kind == "c":
        part = "float" if wanted.itemsize == 8 else "double"
        if given.kind == "c":
            return f"pg_made(({part}){text}.re, ({part}){text}.im)"
        return f"pg_made(({part}){text}, ({part})0)"
    return f"({text} != 0)" if wanted.kind == "b" else f"({ctype(wanted)}){text}"
