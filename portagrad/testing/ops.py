"""check_op: everything about one op on one device."""

from __future__ import annotations

import inspect
import math
from typing import Any

import numpy as np

from portagrad.backend import BY_TYPE, KIND
from portagrad.device import Device, device
from portagrad.kernel import native, raw_namespace
from portagrad.namespace import function
from portagrad.op import TABLE, Op
from portagrad.tensor import CONSTANT, Tensor
from portagrad.testing.arrays import beside, difference, dtype_name, host, place
from portagrad.testing.draws import Call, draws
from portagrad.testing.gradients import check_grads, check_pullback
from portagrad.transforms.gradient import vjp
from portagrad.transforms.tree import flatten, unflatten

_SINGLE = {"float32": "float64", "complex64": "complex128"}
# Plain forwards by the library's own indexing and assignment, which not every library has in full.
_OWN = ("getitem", "index_add", "index_put")
_LOW, _HIGH = 2e-5, 1e-10  # relative: sums of tens of rounding errors of single and double precision


def check_op(op: Op | str, device: Device | str = "cpu", dtype: str = "float64", order: int = 2) -> None:
    """Check one op of the table on one device: its values and its derivatives.

    On arguments drawn from the record (see `draws`): the kernel against the plain forward, where there are
    both, and against NumPy; the pushforward against finite differences; the pullback against the pushforward;
    the same of both once more, up to `order`; shape, dtype and device of every cotangent. In single precision
    the derivatives are compared with NumPy's in double precision instead.

    Parameters
    ----------
    op : Op or str
        A record of the table, or its name.
    device : Device or str
    dtype : str
        By its name in the standard; which ones an op takes, its record says.
    order : int
        The highest order of derivative, in double precision.

    Raises
    ------
    AssertionError
        Naming the op and its arguments, what was expected and what was found.

    Examples
    --------
    >>> check_op("matmul")
    >>> check_op("sin", dtype="complex64")
    """
    op = TABLE[op] if isinstance(op, str) else op
    for call in draws(op, device, dtype):
        check_values(call)
        if not op.differentiable:
            check_constant(call)
        elif not call.xs:
            continue
        elif dtype in _SINGLE:
            check_pullback(call, call.xs)
            check_precision(call)
        else:
            check_grads(call, call.xs, order=order)


def check_values(call: Call) -> None:
    """The result is that of NumPy and of the plain forward, and is an array where the arguments are."""
    arrays = [x for x in call.args if BY_TYPE[type(x)] is not None]
    (where,) = {place(x) for x in arrays}
    y = _parts(call(*call.xs))
    for part in y:
        if isinstance(part, Tensor) or BY_TYPE[type(part)] is not where.backend or place(part) != where:
            raise AssertionError(f"{call!r}: the result is {type(part).__name__}, not an array on {where}")
    there = device("cpu")
    if where != there:
        with np.errstate(all="ignore"):
            _compare(call, "the result and NumPy's", y, _parts(on_numpy(call)(*on_numpy(call).xs)))
    op = call.op
    if op.forward is not None:
        params = {**_defaults(op), **call.params}
        run = native(op, where.backend)
        if getattr(run, "func", None) is not op.forward:
            try:
                args = call.prepared(call.args)
                plain = call.told(op.forward(*args, **params, xp=raw_namespace(where.backend)))
            except (TypeError, ValueError):
                if op.name in _OWN:
                    return
                raise
            _compare(call, "the kernel's result and the plain forward's", y, _parts(plain))


def check_constant(call: Call) -> None:
    """What an op without a derivative makes of a differentiated value is a constant, no floating number."""
    floats = [x for x in call.args if BY_TYPE[type(x)] is not None and KIND[x.dtype]]
    if not floats:
        return

    def apply(*xs: Any) -> Any:
        it = iter(xs)
        args = [next(it) if any(x is a for a in floats) else x for x in call.args]
        results = _parts(Call(call.op, tuple(args), call.params)())
        for y in results:
            if not isinstance(y, Tensor) or y.trace is not CONSTANT or KIND[y.dtype]:
                raise AssertionError(f"{call!r}: returned {y!r}, which is no constant")
        return xs

    vjp(apply, *floats)


def check_precision(call: Call) -> None:
    """In single precision the derivatives are NumPy's in double precision, to what the dtype holds."""
    twin = on_numpy(call, _SINGLE)
    for i, (got, wanted) in enumerate(zip(_cotangents(call), _cotangents(twin), strict=True)):
        wrong = difference(host(got), host(wanted), 10 * _LOW, 0.0)
        if wrong:
            raise AssertionError(
                f"{call!r}: the cotangent of argument {i} differs from double precision's\n{wrong}"
            )


def _cotangents(call: Call) -> tuple[Any, ...]:
    """What a fixed cotangent of the result is pulled back to."""
    y, pullback = vjp(call, *call.xs)
    outs, structure = flatten(y)
    gs = [beside(np.linspace(0.5, 1.5, math.prod(x.shape)).reshape(x.shape), x) for x in outs]
    found: tuple[Any, ...] = pullback(unflatten(structure, gs))
    return found


def on_numpy(call: Call, dtypes: dict[str, str] | None = None) -> Call:
    """The same call on NumPy's arrays, with other dtypes if given."""

    def moved(x: Any) -> Any:
        if BY_TYPE[type(x)] is None:
            return x
        a = host(x)
        return a.astype((dtypes or {}).get(a.dtype.name, a.dtype.name))

    return Call(call.op, tuple(map(moved, call.args)), call.params)


def _parts(y: Any) -> list[Any]:
    return list(y) if isinstance(y, tuple | list) else [y]


def _defaults(op: Op) -> dict[str, Any]:
    parameters = inspect.signature(function(op.name)).parameters.values()
    return {p.name: p.default for p in parameters if p.name in op.params and p.default is not p.empty}


def _compare(call: Call, what: str, got: list[Any], expected: list[Any]) -> None:
    if len(got) != len(expected):
        raise AssertionError(f"{call!r}: {len(got)} results, expected {len(expected)}")
    for y, z in zip(got, expected, strict=True):
        if dtype_name(y) != dtype_name(z):
            raise AssertionError(f"{call!r}: {what} differ in dtype: {dtype_name(y)} and {dtype_name(z)}")
        rtol = 0.0 if not KIND[y.dtype] else _LOW if dtype_name(y) in _SINGLE else _HIGH
        a, b = (a.astype(int) if a.dtype == bool else a for a in (host(y), host(z)))
        wrong = difference(a, b, rtol, 0.0)
        if wrong:
            raise AssertionError(f"{call!r}: {what} differ\n{wrong}")
